"""The data page: what came in as files and what is on its way, prompts, and exports. For those who manage the project."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from annotate.access import ProjectRequest, project_view
from annotate.data.prompts import ImportReport, import_prompts
from annotate.data.uploads import keep_upload
from annotate.formats.files import FileBroken
from annotate.formats.registry import READERS
from annotate.text.counting import counted
from annotate.text.typed import storable
from training.datasets.export_form import ExportForm
from training.imports.forms import PromptsForm, UploadForm
from training.imports.ordering import is_large, order_import, wanted_uploads
from training.models.job import JobState

SHOWN_IMPORTS = 50


@require_safe
@never_cache
@project_view(may="may_manage")
def data(request: ProjectRequest) -> HttpResponse:
    return render_data(request)


@require_POST
@project_view(may="may_manage")
def data_prompts(request: ProjectRequest) -> HttpResponse:
    """Prompts go in at once: there is little to see before. The lines that cannot be used are shown with the page. A large file
    is a worker's, as one of comparisons is."""
    form = PromptsForm(request.POST, request.FILES)
    if not form.is_valid():
        return render_data(request, prompts=form, status=422)
    file, system = form.cleaned_data["prompts"], form.cleaned_data["system"].strip()
    if is_large(file.size):
        upload = keep_upload(project=request.project, file=file, still_wanted=wanted_uploads(request.project))
        job = order_import(project=request.project, upload=upload, by=request.user, prompts=True, system=system)
        return redirect("file_import", request.project.slug, job.upload)
    try:
        report = import_prompts(
            project=request.project,
            stream=file.file,
            system=system,
            source=storable(file.name or ""),
        )
    except FileBroken as error:
        form.add_error("prompts", str(error))
        return render_data(request, prompts=form, status=422)
    summary = f"{counted(report.added, 'prompt')} added ({report.heldout:,} held out), {report.known:,} already known."
    (messages.success if report.added or report.known else messages.warning)(request, summary)
    return render_data(request, refused=report) if report.refused_count else redirect("data", request.project.slug)


def render_data(
    request: ProjectRequest,
    *,
    upload: UploadForm | None = None,
    prompts: PromptsForm | None = None,
    export: ExportForm | None = None,
    refused: ImportReport | None = None,
    status: int = 200,
) -> HttpResponse:
    files = request.project.file_imports
    context = {
        "form": upload or UploadForm(),
        "prompts": prompts or PromptsForm(),
        "refused": refused,
        "export": export or ExportForm(project=request.project),
        "imports": request.project.imports.select_related("by").order_by("-number")[:SHOWN_IMPORTS],
        "on_their_way": files.filter(state__in=[JobState.QUEUED, JobState.RUNNING, JobState.FAILED], batch__undone_at=None)
        .select_related("by")
        .order_by("-pk")[:SHOWN_IMPORTS],
        "readers": READERS,
    }
    return render(request, "training/data.html", context, status=status)
