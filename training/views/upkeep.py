"""What people do with a version besides making it serve, and the way back from it to the judgements."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from annotate.access import ProjectRequest, project_view
from annotate.review.seen import note_seen
from training.models import Version
from training.versions.provenance import judged_comparison, judgements_in, judgements_of_answers
from training.versions.tarballs import stream_tar
from training.versions.upkeep import UpkeepRefused, archive, describe, drop_alias, request_removal, set_alias, unarchive
from training.views.versions import _find_version


def _done(request: ProjectRequest, version: Version, said: str, work: Callable[..., Any], **given: Any) -> HttpResponse:
    """Do it, say so, and go back to the version's page; what is refused is said there, too."""
    try:
        work(version=version, **given)
        messages.success(request, said)
    except UpkeepRefused as refusal:
        messages.error(request, str(refusal))
    return redirect(version)


@require_POST
@project_view(may="may_manage")
def version_describe(request: ProjectRequest, number: int) -> HttpResponse:
    tags = request.POST.get("tags", "").split(",")
    notes = request.POST.get("notes", "").replace("\r\n", "\n")
    return _done(request, _find_version(request, number), "Saved.", describe, notes=notes, tags=tags)


@require_POST
@project_view(may="may_manage")
def version_alias(request: ProjectRequest, number: int) -> HttpResponse:
    """`name` is set; `drop` is taken away."""
    version = _find_version(request, number)
    if dropped := request.POST.get("drop", ""):
        return _done(request, version, f"{version} is no longer called {dropped[:40]}.", drop_alias, name=dropped)
    name = request.POST.get("name", "")
    return _done(request, version, f"{version} is called {name[:40]} now.", set_alias, name=name, by=request.user)


@require_POST
@project_view(may="may_manage")
def version_archive(request: ProjectRequest, number: int) -> HttpResponse:
    """`back=1` takes it out of the archive."""
    version = _find_version(request, number)
    if request.POST.get("back"):
        return _done(request, version, f"{version} is back among the others.", unarchive)
    return _done(request, version, f"{version} is archived: it is out of the way, and nothing is lost.", archive)


@require_POST
@project_view(may="may_manage")
def version_remove(request: ProjectRequest, number: int) -> HttpResponse:
    version = _find_version(request, number)
    said = f"A worker deletes the files of {version}. What is known of it, its figures and its judgements stay."
    return _done(request, version, said, request_removal)


@require_safe
@project_view(may="may_manage")
def version_download(request: ProjectRequest, number: int) -> HttpResponse | StreamingHttpResponse:
    """The whole directory, as one tar."""
    version = _find_version(request, number)
    if version.is_endpoint or version.is_removed or not version.path.is_dir():
        messages.error(request, f"{version} has no files here.")
        return redirect(version)
    name = f"{request.project.slug}-v{number}"
    answer = StreamingHttpResponse(stream_tar(version.path, name=name), content_type="application/x-tar")
    answer["Content-Disposition"] = f'attachment; filename="{name}.tar"'
    return answer


@require_safe
@project_view(may="may_see_versions")
def version_judgements(request: ProjectRequest, number: int) -> HttpResponse:
    """Every judgement in the version's dataset, newest first, or with `?of=answers` those of the answers it wrote; `?before=ID`
    goes on."""
    version = _find_version(request, number)
    of_answers = request.GET.get("of") == "answers"
    if version.run_id is None and not of_answers:
        messages.warning(request, f"{version} was not trained here: no judgement made it.")
        return redirect(version)
    before = request.GET.get("before", "")
    asked = int(before) if before.isdecimal() and len(before) < 19 else None
    names = request.role.may_manage
    if of_answers:
        clicks = judgements_of_answers(version, names=names, before=asked)
    else:
        clicks = judgements_in(version.run.dataset, names=names, before=asked)
    context = {"version": version, "clicks": clicks, "before": asked, "of_answers": of_answers}
    return render(request, "training/version_judgements.html", context)


@require_safe
@project_view(may="may_manage")
def judged(request: ProjectRequest, comparison: int) -> HttpResponse:
    """A comparison, who judged it how, and the versions that it helped to train."""
    found = judged_comparison(request.project, comparison) if comparison < 2**63 else None
    if found is None:
        raise Http404("No such comparison.")
    note_seen(comparison=found["comparison"], by=request.user)
    return render(request, "training/judged.html", found)
