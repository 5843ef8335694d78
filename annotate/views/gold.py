"""The gold pages: the known answers, what could become one, how people do on them; and batches for named people."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.gold.calibration import excuse
from annotate.gold.forms import GoldForm, GoldListForm, HandoutForm
from annotate.gold.known_answers import GoldRefused, expected_in_words, mark_gold, unmark_gold
from annotate.gold.lists import SHOWN, count_gold, list_pairs, list_people, said_of
from annotate.judging.offer import outcome_in_words
from annotate.quality.pictures import range_of
from annotate.queue.handouts import HandoutRefused, hand_out, handouts_of, may_get, open_to_hand_out, release
from annotate.review.seen import note_seen
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..models import Comparison
from ..models.comparison import Purpose
from ..models.judgement import Outcome
from ..models.scale import Grades


@require_safe
@project_view(may="may_manage")
def gold(request: ProjectRequest) -> HttpResponse:
    form = GoldListForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    show, containing = asked.get("show") or "gold", asked.get("q", "").replace("\0", "")
    context = {"show": show, "tabs": SHOWN, "q": containing, "number": count_gold(request.project)}
    if show == "people":
        context["people"] = [(each, range_of(each.accuracy)) for each in list_people(request.project)]
    else:
        before = asked.get("before") or 0
        context["page"] = list_pairs(project=request.project, show=show, containing=containing, before=before)
        context["before"] = before
    return render(request, "annotate/gold.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def gold_pair(request: ProjectRequest, comparison: int) -> HttpResponse:
    """One pair, and what is right of it."""
    found = _find(request, comparison)
    note_seen(comparison=found, by=request.user)
    known = getattr(found, "gold", None)
    form = GoldForm(request.POST or None, grades=Grades(request.project.grades), gold=known)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        accepted = {name: asked[name] for name in ("low", "high", "accepts_both_bad", "reason")}
        try:
            answer = mark_gold(comparison=found, by=request.user, **accepted)
        except GoldRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"It is gold. Right: {expected_in_words(answer, grades=Grades(request.project.grades))}.")
            return redirect("gold", request.project.slug)
    texts = {"a": found.first.text, "b": found.second.text}
    said = [
        (outcome_in_words(Outcome(row["outcome"]), row["strength"], Grades(row["assignment__grades"])), row)
        for row in said_of(found)
    ]
    context = {
        "comparison": found, "is_gold": found.purpose == Purpose.GOLD, "known": known, "form": form, "said": said,
        "turns": [{"role": turn["role"], "html": render_markdown(turn["content"])} for turn in found.prompt.messages],
        "answers": [{"side": side, "text": text, "html": render_markdown(text)} for side, text in texts.items()],
    }  # fmt: skip
    return render(request, "annotate/gold_pair.html", context, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def gold_unmark(request: ProjectRequest, comparison: int) -> HttpResponse:
    unmark_gold(comparison=_find(request, comparison))
    messages.success(request, "It is gold no more. The answers it got stay in the record and make no triple.")
    return redirect("gold", request.project.slug)


def _find(request: ProjectRequest, pk: int) -> Comparison:
    known = request.project.comparisons.exclude(purpose=Purpose.EVALUATE).select_related("prompt", "first", "second", "gold")
    return get_object_or_404(known, pk=pk)


@require_POST
@project_view(may="may_manage")
def gold_excuse(request: ProjectRequest, user_id: int) -> HttpResponse:
    membership = get_object_or_404(request.project.memberships.select_related("user"), user=user_id)
    excuse(membership=membership)
    messages.success(request, f"{membership.user.get_full_name()} gets work, whatever the calibration says.")
    return redirect(f"{request.project.get_absolute_url()}gold/?show=people")


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def handouts(request: ProjectRequest) -> HttpResponse:
    form = HandoutForm(request.POST or None, people=may_get(request.project))
    if request.method == "POST" and form.is_valid():
        try:
            made = hand_out(project=request.project, by=request.user, **form.cleaned_data)
        except HandoutRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"“{made.name}” is handed out: {made.size} comparisons.")
            return redirect("handouts", request.project.slug)
    context = {
        "form": form, "tabs": SHOWN, "number": count_gold(request.project), "handouts": list(handouts_of(request.project)[:100]),
        "open": open_to_hand_out(request.project).count(),
    }  # fmt: skip
    return render(request, "annotate/handouts.html", context, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def handout_release(request: ProjectRequest, number: int) -> HttpResponse:
    found = get_object_or_404(request.project.handouts, number=number)
    release(handout=found)
    messages.success(request, f"“{found.name}” is released: what is left of it belongs to everybody.")
    return redirect("handouts", request.project.slug)
