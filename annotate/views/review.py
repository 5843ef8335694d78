"""Review: the comparisons in dispute, for those who manage the project."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.judging.judgements import CHOICES
from annotate.judging.offer import offers_of
from annotate.review.cases import COUNTED, Case, count_waiting, list_decisions, list_waiting, next_waiting, open_case
from annotate.review.decisions import (
    MOST_MORE,
    ReviewRefused,
    ask_for_more,
    in_words,
    leave_as_it_is,
    settle_comparison,
    take_back_decision,
    withdraw_judgement,
)
from annotate.review.seen import note_seen
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..forms import DecisionForm, QueueForm, WithdrawForm
from ..models import Decision, Judgement
from ..models.review import Reason
from ..models.scale import Grades


@require_safe
@never_cache
@project_view(may="may_manage")
def review(request: ProjectRequest) -> HttpResponse:
    """The queue; with ?decided, what was decided lately."""
    reason, after = _queue_of(request)
    context: dict[str, Any] = {"reason": reason, "decided": "decided" in request.GET}
    if context["decided"]:
        context["decisions"] = [(decision, in_words(decision)) for decision in list_decisions(request.project)]
    else:
        context["page"] = list_waiting(project=request.project, reason=reason, after=after)
        context["first"] = after == 0
    return render(request, "annotate/review.html", context | _tabs(request))


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@project_view(may="may_manage")
def review_case(request: ProjectRequest, comparison: int) -> HttpResponse:
    """One comparison with all its judgements; POST decides on it and goes on to the next."""
    case = _find_case(request, comparison)
    if any(entry.judgement.annotator_id != request.user.pk for entry in case.entries):
        note_seen(comparison=case.comparison, by=request.user)
    if request.method != "POST":
        return _case_page(request, case, DecisionForm(initial={"more": 1}))
    form = DecisionForm(request.POST)
    if not form.is_valid():
        return _case_page(request, case, form, status=422)
    try:
        decision = _decide(request, case, form.cleaned_data)
    except ReviewRefused as refusal:
        form.add_error(None, str(refusal))
        return _case_page(request, _find_case(request, comparison), form, status=409 if refusal.decided else 422)
    messages.success(request, in_words(decision))
    return _on_to_next(request, comparison)


def _decide(request: ProjectRequest, case: Case, asked: dict[str, Any]) -> Decision:
    what = {"comparison_id": case.comparison.pk, "by": request.user, "why": asked["why"], "seen": asked["seen"] or 0}
    if asked["decide"] == "more":
        return ask_for_more(more=asked["more"] or 0, **what)
    if asked["decide"] == "leave":
        return leave_as_it_is(**what)
    grades = Grades(request.project.grades)
    strength = asked["strength"] if asked["strength"] is not None else 1
    return settle_comparison(outcome=CHOICES[asked["choice"]], strength=strength, grades=grades, **what)


@require_POST
@project_view(may="may_manage")
def review_withdraw(request: ProjectRequest, comparison: int, judgement: int) -> HttpResponse:
    _find_case(request, comparison)
    found = get_object_or_404(Judgement, pk=judgement, comparison=comparison)
    form = WithdrawForm(request.POST)
    if not form.is_valid():
        return _case_page(request, _find_case(request, comparison), DecisionForm(), status=422, wrong=(judgement, form))
    try:
        withdraw_judgement(judgement=found, by=request.user, why=form.cleaned_data["why"])
    except ReviewRefused as refusal:
        form.add_error("why", str(refusal))
        return _case_page(request, _find_case(request, comparison), DecisionForm(), status=409, wrong=(judgement, form))
    messages.success(request, f"The judgement of {found.annotator.get_full_name()} is withdrawn.")
    return redirect(_address(request, comparison))


@require_POST
@project_view(may="may_manage")
def review_take_back(request: ProjectRequest, comparison: int, decision: int) -> HttpResponse:
    _find_case(request, comparison)
    found = get_object_or_404(Decision, pk=decision, comparison=comparison)
    try:
        take_back_decision(decision=found, by=request.user)
        messages.success(request, "Taken back.")
    except ReviewRefused as refusal:
        messages.error(request, str(refusal))
    return redirect(_address(request, comparison))


def _queue_of(request: ProjectRequest) -> tuple[str, int]:
    """The reason and the place in the queue that the address names; what it cannot mean is as good as not said."""
    form = QueueForm(request.GET)
    form.is_valid()
    return form.cleaned_data.get("reason") or "", form.cleaned_data.get("after") or 0


def _find_case(request: ProjectRequest, comparison: int) -> Case:
    case = open_case(project=request.project, comparison_id=comparison)
    if case is None:
        raise Http404("No such comparison, or nobody has judged it.")
    return case


def _case_page(request: ProjectRequest, case: Case, form: DecisionForm, status: int = 200, wrong: Any = None) -> HttpResponse:
    reason, _ = _queue_of(request)
    comparison = case.comparison
    texts = (("a", comparison.first.text), ("b", comparison.second.text))
    context = {
        "case": case,
        "form": form,
        "wrong": wrong,
        "reason": reason,
        "turns": [{"role": turn["role"], "html": render_markdown(turn["content"])} for turn in comparison.prompt.messages],
        "answers": [{"side": side, "text": text, "html": render_markdown(text)} for side, text in texts],
        "offers": offers_of(project=request.project, grades=Grades(request.project.grades), every=True),
        "grades": request.project.grades,
        "most_more": MOST_MORE,
        "next": next_waiting(project=request.project, reason=reason, after=comparison.pk),
    }
    return render(request, "annotate/review_case.html", context, status=status)


def _tabs(request: ProjectRequest) -> dict[str, Any]:
    counts = count_waiting(request.project)
    shown = {reason: f"{COUNTED:,}+" if count > COUNTED else f"{count:,}" for reason, count in counts.items()}
    labels = {"": "All", **dict(Reason.choices)}
    return {"tabs": [(reason, labels[reason], shown[reason]) for reason in labels], "any": counts[""] > 0}


def _address(request: ProjectRequest, comparison: int) -> str:
    reason, _ = _queue_of(request)
    query = f"?{urlencode({'reason': reason})}" if reason else ""
    return reverse("review_case", args=[request.project.slug, comparison]) + query


def _on_to_next(request: ProjectRequest, comparison: int) -> HttpResponse:
    reason, _ = _queue_of(request)
    if following := next_waiting(project=request.project, reason=reason, after=comparison):
        return redirect(_address(request, following))
    return redirect("review", request.project.slug)
