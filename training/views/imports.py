"""Judged comparisons come in: upload, a look at the first rows, import with its progress, report of refused rows, undo."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import FileResponse, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.data.import_previews import Preview, preview_import
from annotate.data.undoing import undo_import
from annotate.data.uploads import Upload, find_upload, keep_upload, refusals_of
from annotate.formats.registry import FIELDS
from annotate.models import PreferenceImport
from annotate.text.counting import counted
from training.imports.forms import ImportForm, UploadForm
from training.imports.ordering import cancel_import, go_on_with_import, order_import, wanted_uploads
from training.models import FileImport
from training.models.job import JobState
from training.outlook import stuck_line
from training.views.data import render_data
from training.views.project import STOP_POLLING

SHOWN = 5


@require_POST
@project_view(may="may_manage")
def data_upload(request: ProjectRequest) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return render_data(request, upload=form, status=422)
    upload = keep_upload(project=request.project, file=form.cleaned_data["file"], still_wanted=wanted_uploads(request.project))
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
    job = order_import(project=request.project, upload=upload, by=request.user, **form.asked)
    if job.state == JobState.DONE:
        tell_what_came(request, job)
        return redirect("data", request.project.slug)
    if job.state == JobState.FAILED and job.batch is None:  # nothing came of it: it can be looked at otherwise
        job.delete()
        return render_preview(request, form, upload, error=job.error, status=422)
    return redirect("file_import", request.project.slug, job.upload)


def tell_what_came(request: ProjectRequest, job: FileImport) -> None:
    batch = job.batch
    if batch is None:
        return
    added = f"{counted(batch.judgements, 'judgement')} of {counted(batch.comparisons, 'new comparison')} added"
    if batch.added_nothing:
        messages.info(request, f"{batch.file_name}: nothing was added; {batch.known:,} already known.")
    else:
        messages.success(request, f"{batch.file_name}: {added}; {batch.known:,} already known.")
    if batch.refused:
        messages.warning(request, f"{counted(batch.refused, 'row')} refused. The report in the list says which, and why.")


@never_cache
@require_safe
@vary_on_headers("HX-Request")
@project_view(may="may_manage")
def file_import(request: ProjectRequest, upload: UUID) -> HttpResponse:
    """How far an import is."""
    job = _find(request, upload)
    over = job.is_over
    context = {
        "job": job, "batch": job.batch, "over": over, "stuck": stuck_line(job, "The import"),
        "eta": job.eta_seconds if job.state == JobState.RUNNING else None,
    }  # fmt: skip
    if request.htmx:
        return render(request, "training/_file_import_live.html", context, status=STOP_POLLING if over else 200)
    return render(request, "training/file_import.html", context)


@require_POST
@project_view(may="may_manage")
def file_import_cancel(request: ProjectRequest, upload: UUID) -> HttpResponse:
    if not cancel_import(job=_find(request, upload)):
        messages.info(request, "It is over already.")
    return redirect("file_import", request.project.slug, upload)


@require_POST
@project_view(may="may_manage")
def file_import_go_on(request: ProjectRequest, upload: UUID) -> HttpResponse:
    if not go_on_with_import(job=_find(request, upload)):
        messages.info(request, "There is nothing to go on with: it has not failed.")
    return redirect("file_import", request.project.slug, upload)


def _find(request: ProjectRequest, upload: UUID) -> FileImport:
    return get_object_or_404(request.project.file_imports.select_related("batch", "by"), upload=upload)


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
    coming = FileImport.objects.unfinished().filter(batch=batch).first()
    if coming is not None:
        messages.warning(request, f"{batch.file_name} is still coming in. Cancel it: what is in of it is then taken out.")
        return redirect("file_import", request.project.slug, coming.upload)
    tell_what_went(request, batch)
    return redirect("data", request.project.slug)


def tell_what_went(request: ProjectRequest, batch: PreferenceImport) -> None:
    report = undo_import(batch=batch)
    taken = [counted(report.judgements, "judgement"), counted(report.comparisons, "comparison")]
    messages.success(request, f"{batch.file_name}: {', '.join(taken)} and {counted(report.prompts, 'prompt')} taken out.")
    if report.withdrawn or report.kept:
        messages.info(
            request,
            f"Kept, since people were given them or a dataset names them: {counted(report.kept, 'comparison')}; "
            f"{counted(report.withdrawn, 'judgement')} withdrawn.",
        )


def render_preview(
    request: ProjectRequest, form: ImportForm, upload: Upload, *, error: str = "", status: int = 200
) -> HttpResponse:
    with upload.path.open("rb") as stream:
        preview = preview_import(stream=stream, format=form.cleaned_data["format"], names=form.names)
    context: dict[str, Any] = {
        "form": form,
        "upload": upload,
        "preview": preview,
        "error": preview.error or error,
        "rows": preview.rows[:SHOWN],
        "refused": preview.refused[:SHOWN],
        "fields": mapped_fields(preview, form),
    }
    return render(request, "training/import_preview.html", context, status=status)


def mapped_fields(preview: Preview, form: ImportForm) -> list[tuple[str, str]]:
    """Our name for each field of the format, and what the file calls it; "" if it does not have it."""
    names = form.names
    ours = FIELDS[preview.format or "trl"]
    return [(name, names.get(name, name if name in preview.fields else "")) for name in ours]
