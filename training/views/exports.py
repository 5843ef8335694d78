"""What has been judged goes out: a download in any format, and its card."""

from itertools import chain

from django.http import HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET

from annotate.access import ProjectRequest, project_view
from annotate.data.exports import count_preferences, stream_preferences
from training.datasets.cards import card_of_export, file_name_of
from training.datasets.export_form import ExportForm
from training.views.data import render_data


@require_GET
@project_view(may="may_manage")
def data_export(request: ProjectRequest) -> HttpResponse:
    """A download, written while it is read."""
    form = ExportForm(request.GET, project=request.project)
    if not form.is_valid():
        return render_data(request, export=form, status=422)
    format = form.cleaned_data["format"]
    parts = stream_preferences(project=request.project, format=format, wanted=form.wanted)
    first = next(parts, b"")
    if not first:
        left_out = count_preferences(project=request.project, format=format, wanted=form.wanted).left_out
        reasons = " ".join(f"{count} left out: {reason}." for reason, count in left_out.items())
        form.add_error("format", f"Nothing would be in the file. {reasons}".strip())
        return render_data(request, export=form, status=422)
    name = file_name_of(request.project, format, form.cleaned_data["split"])
    return _as_file(StreamingHttpResponse(chain([first], parts), content_type="application/octet-stream"), name)


@require_GET
@project_view(may="may_manage")
def data_export_card(request: ProjectRequest) -> HttpResponse:
    """The card of the same download."""
    form = ExportForm(request.GET, project=request.project)
    if not form.is_valid():
        return render_data(request, export=form, status=422)
    given, wanted = form.cleaned_data, form.wanted
    name = file_name_of(request.project, given["format"], given["split"])
    text = card_of_export(
        project=request.project, format=given["format"], file_name=name, filters=given["filters"], wanted=wanted,
        report=count_preferences(project=request.project, format=given["format"], wanted=wanted), licence=given["licence"],
    )  # fmt: skip
    return _as_file(HttpResponse(text, content_type="text/markdown; charset=utf-8"), f"{name.rpartition('.')[0]}.card.md")


def _as_file(answer: HttpResponse | StreamingHttpResponse, name: str) -> HttpResponse:
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
