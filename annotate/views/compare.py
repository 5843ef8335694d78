"""The compare page: a pair, four answers, and what goes on around them.

Every address answers a plain form (redirect, or the page again with 422/409) and the page's script, which asks for
JSON or for the fragment `_pair.html`. Nothing here names a completion, a comparison, a prompt or a version.
"""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from annotate.gold.calibration import place_in_calibration
from annotate.gold.known_answers import feedback_on
from annotate.judging.edits import MAX_EDIT
from annotate.judging.judgements import JudgementRefused, has_answered, record_judgement, take_back_last
from annotate.judging.offer import answer_in_words, offers_of, side_of
from annotate.projects.guidelines import is_unread
from annotate.projects.progress import judged_today, recent_pairs
from annotate.queue.claims import claim_comparison, renew_lease, skip_comparison
from annotate.queue.no_work import explain_no_work
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..forms import AssignmentForm, BesideForm, JudgementForm, SkipForm
from ..models import Assignment, Comparison
from ..models.assignment import AssignmentState
from ..models.kept_queries import Given, KeptQuery
from ..models.scale import Grades

SKIP_REASONS = [
    "I do not know enough about it",
    "The two are the same",
    "The question makes no sense",
    "Offensive or unsafe",
    "Cannot be displayed",
]

LOST = {
    AssignmentState.JUDGED: "The comparison that was open here has been judged, in another tab or window of yours.",
    AssignmentState.SKIPPED: "The comparison that was open here has been skipped, in another tab or window of yours.",
    AssignmentState.SEEN: "You have seen in review what others think of the comparison that was open here.",
}
LOST_TO_THE_QUEUE = "The comparison you had open went back to the queue, because the page was away for too long."


def for_same_person(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Refuses what a page made for one person sends in the name of another, who has signed in in the same browser since."""

    @wraps(view)
    def checked(request: ProjectRequest) -> HttpResponse:
        if request.POST.get("person", "") not in ("", str(request.user.pk)):
            return refuse(request, 403, "other_person", "Somebody else is signed in now. Reload the page.")
        return view(request)

    return checked


@require_GET
@never_cache
@project_view(may="may_judge")
def compare(request: ProjectRequest) -> HttpResponse:
    return render_page(request, claim_comparison(project=request.project, annotator=request.user))


@require_POST
@never_cache
@project_view(may="may_judge")
@for_same_person
def compare_next(request: ProjectRequest) -> HttpResponse:
    """The next pair as a fragment, leased at once. `beside`: the one on the screen, which is not handed out again."""
    form = BesideForm(request.POST)
    if not form.is_valid():
        return refuse(request, 422, "invalid", "That comparison has no such name.", form)
    beside = find_own(request, form.cleaned_data["beside"])
    assignment = claim_comparison(project=request.project, annotator=request.user, beside=beside)
    return render(request, "annotate/_pair.html", pair_context(request, assignment))


@require_POST
@never_cache
@vary_on_headers("Accept")
@project_view(may="may_judge")
@for_same_person
def compare_judge(request: ProjectRequest) -> HttpResponse:
    form = JudgementForm(request.POST)
    if not form.is_valid():
        return refuse(request, 422, "invalid", "Some fields are not valid.", form)
    asked = form.cleaned_data
    try:
        judgement = record_judgement(
            annotator=request.user,
            assignment_id=asked["assignment"],
            key=asked["key"],
            choice=asked["choice"],
            strength=asked["strength"],
            seconds=asked["seconds"],
            rationale=asked["rationale"],
            flags=asked["flags"],
            edited_text=asked["edited_text"],
        )
    except JudgementRefused as refusal:
        return refuse(request, 422 if refusal.fields else 409, refusal.code, refusal.message, form, refusal.fields)
    if judgement.key != asked["key"]:
        return accept(request, "You had judged this pair already. That answer stands; Undo takes it back.", already=True)
    return accept(request, "Saved.", feedback=feedback_on(judgement), then=following(request, asked))


def following(request: ProjectRequest, asked: dict[str, Any]) -> dict[str, str]:
    """The next pair, for a page that asks for it together with its judgement: one request in the place of two."""
    if not (asked["then"] and wants_json(request)):
        return {}
    assignment = claim_comparison(project=request.project, annotator=request.user, beside=find_own(request, asked["beside"]))
    if assignment is None:
        return {}  # the page asks again, and is told why
    return {"pair": render_to_string("annotate/_pair.html", pair_context(request, assignment), request)}


@require_POST
@never_cache
@vary_on_headers("Accept")
@project_view(may="may_judge")
@for_same_person
def compare_skip(request: ProjectRequest) -> HttpResponse:
    form = SkipForm(request.POST)
    if not form.is_valid():
        return refuse(request, 422, "invalid", "Some fields are not valid.", form)
    try:
        skip_comparison(annotator=request.user, assignment_id=form.cleaned_data["assignment"], reason=form.cleaned_data["reason"])
    except JudgementRefused as refusal:
        return refuse(request, 409, refusal.code, refusal.message, form, refusal.fields)
    return accept(request, "Skipped.")


@require_POST
@never_cache
@vary_on_headers("Accept")
@project_view(may="may_judge")
@for_same_person
def compare_undo(request: ProjectRequest) -> HttpResponse:
    """Takes back the person's last judgement or skip and shows its pair again."""
    began = timezone.now()
    try:
        assignment = take_back_last(project=request.project, annotator=request.user)
    except JudgementRefused as refusal:
        return refuse(request, 409, refusal.code, refusal.message)
    if assignment is None:
        return refuse(request, 409, "nothing_to_undo", "There is no answer of yours to take back.")
    before = said_before(assignment, since=began)
    if wants_json(request):
        pair = render_to_string("annotate/_pair.html", pair_context(request, assignment) | before, request)
        return JsonResponse({"pair": pair, "progress": shown_progress(request)})
    what = f"Taken back: “{before['before']}”." if before.get("before") else "Taken back."
    messages.info(request, f"{what} Judge this pair again.")
    return render_page(request, assignment, **before)


def said_before(assignment: Assignment, *, since: datetime) -> dict[str, Any]:
    """What was answered before it was taken back, and why: the reason is there to be changed, not to be written again.

    Where a skip was taken back, an answer withdrawn before `since` gives its reason only: it is not what was undone now.
    """
    last = assignment.judgements.order_by("-created_at", "-pk").first()
    if last is None:
        return {}
    edited = {"edited_text": last.edited_text, "edited_side": side_of(last)} if last.edited_text else {}
    undone = {"before": answer_in_words(last)} if last.withdrawn_at and last.withdrawn_at >= since else {}
    return undone | {"rationale": last.rationale, "flagged": last.flags} | edited


@require_POST
@never_cache
@project_view(may="may_judge")
@for_same_person
def compare_renew(request: ProjectRequest) -> HttpResponse:
    """Keeps a lease while its page is visible. `held` is false when the lease is lost; then `message` says how."""
    form = AssignmentForm(request.POST)
    if not form.is_valid():
        return refuse(request, 422, "invalid", "That comparison has no such name.", form)
    assignment = find_own(request, form.cleaned_data["assignment"])
    if assignment and renew_lease(assignment=assignment):
        return JsonResponse({"held": True})
    return JsonResponse({"held": False, "message": LOST.get(assignment and assignment.state, LOST_TO_THE_QUEUE)})


def find_own(request: ProjectRequest, assignment_id: uuid.UUID | None) -> Assignment | None:
    """The person's own assignment in this project. Another's is as good as none."""
    if assignment_id is None:
        return None
    return _own.first(assignment=assignment_id, annotator=request.user.pk, project=request.project.pk)


_own = KeptQuery(
    lambda: Assignment.objects.select_related("comparison__project").filter(
        pk=Given("assignment", uuid.UUID), annotator=Given("annotator", int), comparison__project=Given("project", int)
    )
)


def wants_json(request: ProjectRequest) -> bool:
    """The page's script asks for JSON; a plain form does not."""
    return request.headers.get("Accept", "").startswith("application/json")


def accept(
    request: ProjectRequest,
    text: str,
    already: bool = False,
    feedback: dict[str, Any] | None = None,
    then: dict[str, str] | None = None,
) -> HttpResponse:
    """`already`: another answer than the one that was sent now stands. `feedback`: what was expected of a known answer."""
    if wants_json(request):
        told = {"feedback": render_to_string("annotate/_feedback.html", feedback, request)} if feedback else {}
        return JsonResponse({"message": text, "already": already, "progress": shown_progress(request)} | told | (then or {}))
    if feedback:
        messages.info(request, render_to_string("annotate/_feedback.html", feedback, request))
    messages.add_message(request, messages.INFO if already else messages.SUCCESS, text)
    return redirect("compare", request.project.slug)


def shown_progress(request: ProjectRequest) -> dict[str, int]:
    """The figures in the bar, which the page's script brings up to date."""
    pairs = recent_pairs(request.project)
    mine_today = judged_today(project=request.project, annotator=request.user)
    return {"mine_today": mine_today, "done": pairs.judged, "open": pairs.waiting}


def refuse(
    request: ProjectRequest, status: int, code: str, message: str, form: Form | None = None, fields: dict[str, Any] | None = None
) -> HttpResponse:
    """An error in the one shape, or the page again with the message at its field and what the person had written."""
    fields = fields or (form.errors if form else {})
    if wants_json(request):
        return JsonResponse({"code": code, "message": message, "fields": fields}, status=status)
    assignment = claim_comparison(project=request.project, annotator=request.user)
    written = {name: request.POST.get(name, "") for name in ("rationale", "edited_text")}
    flagged = request.POST.getlist("flags")
    return render_page(request, assignment, status=status, error=message, fields=fields, flagged=flagged, **written)


def render_page(request: ProjectRequest, assignment: Assignment | None, status: int = 200, **context: Any) -> HttpResponse:
    context |= pair_context(request, assignment)
    context |= {
        "progress": shown_progress(request),
        "guidelines": render_markdown(request.project.guidelines, breaks=False),
        "unread": (unread := is_unread(request.membership)),
        "news": request.project.guidelines_edition.why.rstrip(".") if unread else "",
        "help_offers": offers_of(project=request.project, grades=Grades(request.project.grades)),
        "renew_seconds": min(60, 20 * request.project.lease_minutes),  # twice missed, the lease still stands
    }
    return render(request, "annotate/compare.html", context, status=status)


_texts = KeptQuery(
    lambda: Comparison.objects.filter(pk=Given("comparison", int)).values_list("prompt__messages", "first__text", "second__text")
)


def pair_context(request: ProjectRequest, assignment: Assignment | None) -> dict[str, Any]:
    """All that a pair's page may know: the words, and the assignment's name."""
    if assignment is None:
        who = {"project": request.project, "annotator": request.user}
        return {"assignment": None, "reason": explain_no_work(**who), "can_undo": has_answered(**who)}
    messages_, first, second = _texts.first(comparison=assignment.comparison_id)
    request.membership.project = request.project
    a, b = (second, first) if assignment.swapped else (first, second)
    return {
        "assignment": assignment.pk,
        "key": uuid.uuid4(),
        "turns": [{"role": turn["role"], "html": render_markdown(turn["content"])} for turn in messages_],
        "answers": [{"side": "a", "text": a, "html": render_markdown(a)}, {"side": "b", "text": b, "html": render_markdown(b)}],
        "grades": assignment.grades,
        "offers": offers_of(project=request.project, grades=Grades(assignment.grades)),
        "skip_reasons": SKIP_REASONS,
        "calibrating": place_in_calibration(assignment, request.membership),
        "max_edit": MAX_EDIT if request.project.allows_edit else 0,
    }
