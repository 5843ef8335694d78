"""What goes in and out as files: upload, preview, import, undo, export. For those who manage the project."""

import json
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from annotate.data.exports import stream_preferences
from annotate.data.imports import ImportReport, Preview, import_preferences, preview_import, undo_import
from annotate.data.prompts import ImportReport as PromptReport
from annotate.data.prompts import import_prompts
from annotate.data.rating_imports import import_ratings
from annotate.data.uploads import Upload, find_upload, keep_upload, refusals_of
from annotate.text.counting import counted
from annotate.text.typed import storable

from ..access import ProjectRequest, project_view
from ..formats.files import FileBroken
from ..formats.registry import FIELDS, JUDGEMENT_WRITERS, READERS, TRIPLE_WRITERS, UnknownFormat
from ..models.prompt import Split

LARGEST = 64 * 1024 * 1024
SHOWN = 5


def check_size(file: UploadedFile, command: str) -> UploadedFile:
    if file.size > LARGEST:
        raise forms.ValidationError(f"The file is larger than 64 MB. Import it with manage.py {command}.")
    return file


class UploadForm(forms.Form):
    file = forms.FileField(help_text="JSON Lines, a JSON array or Parquet, plain, .gz or .zst, up to 64 MB.")

    def clean_file(self) -> Any:
        return check_size(self.cleaned_data["file"], "import_preferences")


class PromptsForm(forms.Form):
    prompts = forms.FileField(
        label="File", help_text="JSON Lines, CSV, Parquet, or plain text with one prompt a line; plain, .gz or .zst, up to 64 MB."
    )
    system = forms.CharField(
        required=False, label="System message", widget=forms.Textarea(attrs={"rows": 2}), help_text="For prompts that have none."
    )

    def clean_prompts(self) -> Any:
        return check_size(self.cleaned_data["prompts"], "import_prompts")


class ImportForm(forms.Form):
    """How to read an upload. `field-chosen=better` among the data maps our names to the file's."""

    upload = forms.UUIDField(widget=forms.HiddenInput)
    format = forms.ChoiceField(choices=[("", "as its content says"), *((name, name) for name in sorted(READERS))], required=False)
    split = forms.ChoiceField(
        choices=[("", "decided by their content"), *Split.choices], required=False, label="New prompts belong to"
    )
    single = forms.BooleanField(required=False, label="Keep each answer of a KTO file by itself, as a rating")
    judge_again = forms.BooleanField(required=False, label="Our annotators judge these comparisons, too")

    @property
    def names(self) -> dict[str, str]:
        given = {key.removeprefix("field-"): value for key, value in self.data.items() if key.startswith("field-")}
        return {ours: theirs for ours, theirs in given.items() if theirs and theirs != ours}


class ExportForm(forms.Form):
    format = forms.ChoiceField(
        choices=[
            ("Triples, by consensus", [(name, name) for name in TRIPLE_WRITERS]),
            ("Every judgement", [(name, name) for name in JUDGEMENT_WRITERS]),
        ]
    )
    split = forms.ChoiceField(choices=[("", "Both"), *Split.choices], required=False, label="Prompts")


@require_safe
@never_cache
@project_view(may="may_manage")
def data(request: ProjectRequest) -> HttpResponse:
    return render_data(request)


@require_POST
@project_view(may="may_manage")
def data_prompts(request: ProjectRequest) -> HttpResponse:
    """Prompts go in at once: there is little to see before. The lines that cannot be used are shown with the page."""
    form = PromptsForm(request.POST, request.FILES)
    if not form.is_valid():
        return render_data(request, prompts=form, status=422)
    file = form.cleaned_data["prompts"]
    try:
        report = import_prompts(
            project=request.project,
            stream=file.file,
            system=form.cleaned_data["system"].strip(),
            source=storable(file.name or ""),
        )
    except FileBroken as error:
        form.add_error("prompts", str(error))
        return render_data(request, prompts=form, status=422)
    summary = f"{counted(report.added, 'prompt')} added ({report.heldout:,} held out), {report.known:,} already known."
    (messages.success if report.added or report.known else messages.warning)(request, summary)
    return render_data(request, refused=report) if report.refused_count else redirect("data", request.project.slug)


@require_POST
@project_view(may="may_manage")
def data_upload(request: ProjectRequest) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return render_data(request, upload=form, status=422)
    upload = keep_upload(project=request.project, file=form.cleaned_data["file"])
    return redirect(f"{reverse('data_import', args=[request.project.slug])}?{urlencode({'upload': upload.id})}")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def data_import(request: ProjectRequest) -> HttpResponse:
    """A look at the upload's first rows, as it would be read; POST imports it."""
    form = ImportForm(request.POST if request.method == "POST" else request.GET)
    upload = find_upload(project=request.project, id=form.cleaned_data["upload"]) if form.is_valid() else None
    if upload is None:
        messages.warning(request, "That file is not here any more. Upload it again.")
        return redirect("data", request.project.slug)
    if request.method != "POST":
        return render_preview(request, form, upload)
    try:
        report = run_import(request, form, upload)
    except (FileBroken, UnknownFormat):
        return render_preview(request, form, upload, status=422)
    batch = report.batch
    added = f"{counted(batch.judgements, 'judgement')} of {counted(batch.comparisons, 'new comparison')} added"
    messages.success(request, f"{batch.file_name}: {added}; {batch.known:,} already known.")
    if batch.refused:
        messages.warning(request, f"{counted(batch.refused, 'row')} refused. The report in the list says which, and why.")
    upload.drop()
    return redirect("data", request.project.slug)


@require_safe
@project_view(may="may_manage")
def data_refused(request: ProjectRequest, number: int) -> HttpResponse:
    """The report of refused rows, as JSON Lines."""
    batch = get_object_or_404(request.project.imports, number=number)
    path = refusals_of(batch)
    if not path.exists():
        messages.info(request, "There is no report here: nothing was refused, or the import was made on the command line.")
        return redirect("data", request.project.slug)
    name = f"{batch.file_name}.refused.jsonl"
    return FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/jsonl")


@require_POST
@project_view(may="may_manage")
def data_undo(request: ProjectRequest, number: int) -> HttpResponse:
    batch = get_object_or_404(request.project.imports, number=number)
    report = undo_import(batch=batch)
    taken = [counted(report.judgements, "judgement"), counted(report.comparisons, "comparison")]
    messages.success(request, f"{batch.file_name}: {', '.join(taken)} and {counted(report.prompts, 'prompt')} taken out.")
    if report.withdrawn or report.kept:
        messages.info(
            request,
            f"Kept, since people were given them or a dataset names them: {counted(report.kept, 'comparison')}; "
            f"{counted(report.withdrawn, 'judgement')} withdrawn.",
        )
    return redirect("data", request.project.slug)


@require_GET
@project_view(may="may_manage")
def data_export(request: ProjectRequest) -> HttpResponse:
    """A download, written while it is read."""
    form = ExportForm(request.GET)
    if not form.is_valid():
        return render_data(request, export=form, status=422)
    format, split = form.cleaned_data["format"], form.cleaned_data["split"]
    answer = StreamingHttpResponse(
        stream_preferences(project=request.project, format=format, split=split), content_type="application/octet-stream"
    )
    suffix = "json" if format == "label-studio" else "jsonl"
    name = "-".join(part for part in (request.project.slug, format, split) if part)
    answer["Content-Disposition"] = f'attachment; filename="{name}.{suffix}"'
    return answer


def render_data(
    request: ProjectRequest,
    *,
    upload: UploadForm | None = None,
    prompts: PromptsForm | None = None,
    export: ExportForm | None = None,
    refused: PromptReport | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "form": upload or UploadForm(),
        "prompts": prompts or PromptsForm(),
        "refused": refused,
        "export": export or ExportForm(),
        "imports": request.project.imports.select_related("by").order_by("-number")[:50],
        "readers": READERS,
    }
    return render(request, "annotate/data.html", context, status=status)


def render_preview(request: ProjectRequest, form: ImportForm, upload: Upload, status: int = 200) -> HttpResponse:
    with upload.path.open("rb") as stream:
        preview = preview_import(stream=stream, format=form.cleaned_data["format"], names=form.names)
    context = {
        "form": form,
        "upload": upload,
        "preview": preview,
        "rows": preview.rows[:SHOWN],
        "refused": preview.refused[:SHOWN],
        "fields": mapped_fields(preview, form),
    }
    return render(request, "annotate/data_import.html", context, status=status)


def mapped_fields(preview: Preview, form: ImportForm) -> list[tuple[str, str]]:
    """Our name for each field of the format, and what the file calls it; "" if it does not have it."""
    names = form.names
    ours = FIELDS[preview.format or "trl"]
    return [(name, names.get(name, name if name in preview.fields else "")) for name in ours]


def run_import(request: ProjectRequest, form: ImportForm, upload: Upload) -> ImportReport:
    """The refused rows are written while they are found, and get their place once the import has a number."""
    partial = upload.path.with_suffix(".refused")
    with upload.path.open("rb") as stream, partial.open("w", encoding="utf-8") as refused:
        source: dict[str, Any] = {
            "project": request.project,
            "stream": stream,
            "file_name": upload.file_name,
            "by": request.user,
            "on_refused": lambda bad: refused.write(
                json.dumps({bad.unit: bad.line, "reason": bad.reason, "next_step": bad.next_step}, ensure_ascii=False) + "\n"
            ),
        }
        if form.cleaned_data["single"]:
            report = import_ratings(**source)
        else:
            report = import_preferences(
                **source,
                format=form.cleaned_data["format"],
                names=form.names,
                split=form.cleaned_data["split"],
                judge_again=form.cleaned_data["judge_again"],
            )
    if report.batch.refused:
        path = refusals_of(report.batch)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)
    partial.unlink(missing_ok=True)
    return report
