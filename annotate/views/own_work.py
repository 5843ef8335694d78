"""One's own work: figures, past answers that can still be changed, skipped pairs that can be taken up again."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.judging.judgements import JudgementRefused, change_judgement, changeable_until, take_up_skipped
from annotate.judging.offer import answer_in_words, offers_of
from annotate.judging.own_work import list_judged, list_skipped, own_figures
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..forms import AnswerForm
from ..models import Assignment
from ..models.scale import Grades


@require_safe
@never_cache
@project_view(may="may_judge")
def own_work(request: ProjectRequest) -> HttpResponse:
    """`?show=skipped`: what was skipped. `?before=`: older ones."""
    who = {"project": request.project, "annotator": request.user}
    skipped = request.GET.get("show") == "skipped"
    page = (list_skipped if skipped else list_judged)(**who, before=_uuid(request.GET.get("before", "")))
    context = {"figures": own_figures(**who), "page": page, "skipped": skipped, "is_first": "before" not in request.GET}
    return render(request, "annotate/own_work.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_judge")
def own_judgement(request: ProjectRequest, assignment: uuid.UUID) -> HttpResponse:
    """The pair as it was seen. POST puts another answer in the place of the one that stands, while that is possible."""
    found = Assignment.objects.select_related(
        "comparison__prompt", "comparison__first", "comparison__second", "comparison__project"
    )
    own = found.filter(pk=assignment, annotator=request.user, comparison__project=request.project).first()
    if own is None or not own.judgements.exists():
        raise Http404("No such answer of yours.")
    form = AnswerForm(request.POST or None)
    if request.method != "POST":
        return _render_own(request, own)
    if not form.is_valid():
        return _render_own(request, own, 422, error="Some fields are not valid.", fields=form.errors)
    try:
        judgement = change_judgement(annotator=request.user, assignment_id=own.pk, **form.cleaned_data)
    except JudgementRefused as refusal:
        return _render_own(request, own, 422 if refusal.fields else 409, error=refusal.message, fields=refusal.fields)
    messages.success(request, f"Your answer is now “{answer_in_words(judgement)}”. What you said before is kept beside it.")
    return redirect("own_work", request.project.slug)


@require_POST
@project_view(may="may_judge")
def own_take_up(request: ProjectRequest, assignment: uuid.UUID) -> HttpResponse:
    """A skipped pair comes again, as the next one on the compare page."""
    try:
        take_up_skipped(annotator=request.user, assignment_id=assignment)
    except JudgementRefused as refusal:
        messages.error(request, refusal.message)
        return redirect(f"{request.path.rsplit('/', 3)[0]}/?show=skipped")
    return redirect("compare", request.project.slug)


def _render_own(request: ProjectRequest, own: Assignment, status: int = 200, **context: Any) -> HttpResponse:
    comparison = own.comparison
    texts = [comparison.first.text, comparison.second.text]
    a, b = reversed(texts) if own.swapped else texts
    rows = list(own.judgements.order_by("-created_at", "-pk"))
    standing = next((row for row in rows if row.withdrawn_at is None), None)
    until = changeable_until(own)
    posted = request.method == "POST"
    context |= {
        "assignment": own,
        "key": uuid.uuid4(),
        "turns": [{"role": turn["role"], "html": render_markdown(turn["content"])} for turn in comparison.prompt.messages],
        "answers": [{"side": side, "text": text, "html": render_markdown(text)} for side, text in (("a", a), ("b", b))],
        "standing": standing,
        "said": answer_in_words(standing) if standing else "",
        "history": [(row, answer_in_words(row)) for row in rows if row is not standing],
        "until": until if standing and until > timezone.now() else None,
        "offers": offers_of(project=request.project, grades=Grades(own.grades)),
        "rationale": request.POST.get("rationale", "") if posted else standing.rationale if standing else "",
        "flagged": request.POST.getlist("flags") if posted else standing.flags if standing else [],
    }
    return render(request, "annotate/own_judgement.html", context, status=status)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
