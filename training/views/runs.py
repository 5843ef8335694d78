"""The pages of runs."""

import json

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.quality.intervals import interval_of
from training.dpo.config import FIELDS
from training.models import Run
from training.models.job import JobState
from training.outlook import stuck_line, work_at_hand
from training.runs import curves
from training.runs.curve_files import CURVE_FILES, curve_file
from training.runs.differences import MOST_COMPARED, differences_of
from training.runs.form import MAIN
from training.runs.ordering import RunRefused, cancel_run, resume_run
from training.runs.phases import phase_of, working_seconds
from training.runs.samples import samples_of_run
from training.versions.cautions import cautions_of_run, cautions_of_version, pairs_measured
from training.views.project import STOP_POLLING
from training.wording import reasons_in_words

PER_PAGE = 30


def _find_run(request: ProjectRequest, number: int) -> Run:
    runs = request.project.runs.select_related("dataset", "parent", "reference", "started_by", "version", "project")
    return get_object_or_404(runs, number=number)


@require_safe
@project_view(may="may_see_versions")
def runs(request: ProjectRequest) -> HttpResponse:
    found = request.project.runs.select_related("dataset", "parent", "version", "started_by", "project").order_by("-number")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/runs.html", {"page": page})


@require_safe
@vary_on_headers("HX-Request")
@project_view(may="may_see_versions")
def run(request: ProjectRequest, number: int) -> HttpResponse:
    run = _find_run(request, number)
    over = JobState(run.state).is_over
    first, last = curves.ends(run=run, kind=curves.TRAIN)
    first_heldout, last_heldout = curves.ends(run=run, kind=curves.HELDOUT)
    cautions = cautions_of_run(run, first=first, last=last, first_heldout=first_heldout, last_heldout=last_heldout)
    if made := getattr(run, "version", None):  # lengths and endings show only in what it writes
        base = run.project.versions.order_by("number").first()
        cautions += cautions_of_version(made, parent=run.parent, base=base)
    heldout_pairs = pairs_measured(run, last_heldout)
    context = {
        "run": run, "over": over, "last": last, "last_heldout": last_heldout, "cautions": cautions,
        "heldout_pairs": heldout_pairs, "accuracy_interval": interval_of(last_heldout.get("accuracy"), heldout_pairs),
        "seconds": working_seconds(run), "stuck": stuck_line(run, "The run"),
        "phase": phase_of(run) if run.state == JobState.RUNNING else "",
        "behind": work_at_hand(run.project) if run.state == JobState.QUEUED else "",
        "eta": last.get("eta_s", run.eta_seconds) if run.state == JobState.RUNNING else None,
    }  # fmt: skip
    if request.htmx:
        context["changed"] = request.GET.get("was") != run.state  # what was said about the state before is out of date
        return render(request, "training/_run_live.html", context, status=STOP_POLLING if over else 200)
    settings = _settings(run)
    context |= {
        "charts": curves.CHARTS, "samples": samples_of_run(run),
        "without": reasons_in_words(run.dataset.counts) if run.dataset else [],
        "settings": [setting for setting in settings if setting["main"]],
        "more_settings": [setting for setting in settings if not setting["main"]],
    }  # fmt: skip
    return render(request, "training/run.html", context)


def _settings(run: Run) -> list[dict]:
    """The resolved settings with their help. Those that the Train form offers or somebody asked for are the main ones."""
    asked = run.settings.get("overrides", {})
    return [
        {
            "name": name, "value": value, "help": FIELDS[name].metadata["help"],
            "asked": name in asked, "main": name in asked or name in MAIN,
        }
        for name, value in curves.resolved_settings(run=run).items()
    ]  # fmt: skip


@require_safe
@project_view(may="may_see_versions")
def run_events(request: ProjectRequest, number: int) -> JsonResponse:
    after = request.GET.get("after", "0")
    if not after.isdecimal() or len(after) > 9:
        message = "“after” is the number of the last line you have: a whole number, 0 for all."
        return JsonResponse({"code": "invalid", "message": message, "fields": {"after": [message]}}, status=400)
    return JsonResponse(curves.points_after(run=_find_run(request, number), line=int(after)))


@require_safe
@project_view(may="may_see_versions")
def run_curves(request: ProjectRequest, number: int, suffix: str) -> StreamingHttpResponse:
    if suffix not in CURVE_FILES:
        raise Http404("Curves come as csv or json.")
    answer = StreamingHttpResponse(curve_file(_find_run(request, number), suffix), content_type=CURVE_FILES[suffix])
    answer["Content-Disposition"] = f'attachment; filename="{request.project.slug}-run-{number}.{suffix}"'
    return answer


@require_safe
@project_view(may="may_see_versions")
def runs_compare(request: ProjectRequest) -> HttpResponse:
    """`?run=3&run=5`: their curves in the same charts, and the settings in which they differ."""
    asked = {int(each) for each in request.GET.getlist("run") if each.isdecimal() and len(each) < 10}
    found = request.project.runs.filter(number__in=sorted(asked)[:MOST_COMPARED])
    runs = list(found.select_related("dataset", "parent", "reference", "version", "project").order_by("number"))
    if len(runs) < 2:
        messages.warning(request, f"Choose two to {MOST_COMPARED} runs in the table, then Compare.")
        return redirect("runs", request.project.slug)
    context = {
        "runs": runs, "charts": curves.compared(runs), "differences": differences_of(runs), "left_out": len(asked) > len(runs),
        "sources": json.dumps([{"run": r.number, "url": reverse("run_events", args=[r.project.slug, r.number])} for r in runs]),
    }  # fmt: skip
    return render(request, "training/runs_compare.html", context)


@require_POST
@project_view(may="may_manage")
def run_cancel(request: ProjectRequest, number: int) -> HttpResponse:
    run = _find_run(request, number)
    if cancel_run(run=run):
        messages.success(request, f"Run {number} stops after its current step and keeps its checkpoint.")
    else:
        messages.warning(request, f"Run {number} was over already.")
    return redirect(run)


@require_POST
@project_view(may="may_manage")
def run_resume(request: ProjectRequest, number: int) -> HttpResponse:
    run = _find_run(request, number)
    try:
        resumed = resume_run(run=run)
    except RunRefused as refusal:
        messages.error(request, str(refusal))
        return redirect(run)
    if resumed:
        messages.success(request, f"Run {number} goes on from its checkpoint as soon as a worker is free.")
    else:
        messages.warning(request, f"Run {number} is neither cancelled nor failed: there is nothing to resume.")
    return redirect(run)
