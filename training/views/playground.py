"""The playground's page: a form, the answers as they grow, and the way into the queue."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from training.models import Tryout
from training.models.job import JobState
from training.outlook import work_at_hand
from training.playground.asking import WORKER_GONE, NoComparison, ask_again, make_comparison, try_out
from training.playground.form import PlaygroundForm, initial_of
from training.versions.registry import serving_version
from training.views.project import STOP_POLLING

WAITS = 20  # seconds after which the page says that no worker has taken it up


def _find(request: ProjectRequest, number: int) -> Tryout:
    found = request.project.tryouts.select_related("project", "first__project", "second__project", "comparison")
    return get_object_or_404(found, pk=number)


def _context(tryout: Tryout | None) -> dict:
    silent = tryout is not None and tryout.is_silent  # told at once, also where no clock runs
    over = tryout is None or silent or JobState(tryout.state).is_over
    waits = tryout is not None and tryout.state == JobState.QUEUED
    alone = waits and (timezone.now() - tryout.created_at).total_seconds() > WAITS
    return {
        "tryout": tryout, "over": over, "error": WORKER_GONE if silent else tryout.error if tryout else "",
        "alone": alone, "behind": work_at_hand(tryout.project) if alone else "",
        "sides": [
            (side, getattr(tryout, side), getattr(tryout, f"{side}_text"), tryout.told.get(side))
            for side in ("first", "second") if getattr(tryout, f"{side}_id")
        ] if tryout else [],
    }  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def playground(request: ProjectRequest) -> HttpResponse:
    before = request.POST.get("before", "")
    known = _find(request, int(before)) if before.isdecimal() and len(before) < 19 else None
    if request.method == "POST":
        form = PlaygroundForm(request.POST, project=request.project, before=known)
        if form.is_valid():
            return redirect(try_out(project=request.project, by=request.user, **form.asked))
        return render(request, "training/playground.html", _context(known) | {"form": form}, status=422)
    initial = initial_of(request.project, None, serving_version(request.project))
    form = PlaygroundForm(project=request.project, initial=initial)
    return render(request, "training/playground.html", _context(None) | {"form": form})


@require_safe
@vary_on_headers("HX-Request")
@project_view(may="may_manage")
def tryout(request: ProjectRequest, number: int) -> HttpResponse:
    found = _find(request, number)
    context = _context(found)
    if request.htmx:
        return render(request, "training/_tryout.html", context, status=STOP_POLLING if context["over"] else 200)
    form = PlaygroundForm(project=request.project, before=found, initial=initial_of(request.project, found, None))
    return render(request, "training/playground.html", context | {"form": form})


@require_POST
@project_view(may="may_manage")
def tryout_again(request: ProjectRequest, number: int) -> HttpResponse:
    return redirect(ask_again(tryout=_find(request, number), by=request.user))


@require_POST
@project_view(may="may_manage")
def tryout_compare(request: ProjectRequest, number: int) -> HttpResponse:
    found = _find(request, number)
    try:
        make_comparison(tryout=found)
        messages.success(request, "It is in the queue now, before the others. Annotators are not told where it comes from.")
    except NoComparison as refusal:
        messages.error(request, str(refusal))
    return redirect(found)
