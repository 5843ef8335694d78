"""What an annotator sees of their own work: their answers as they gave them, and their own figures.

Nothing here tells of versions, or of what anybody else has said of a pair.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from uuid import UUID

from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from annotate.judging.offer import answer_in_words
from annotate.models import Assignment, Judgement, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState
from annotate.quality.agreement import against_the_others

PAGE = 12
EXCERPT = 280  # characters of a text in the list
PACE_OVER = 100  # of the newest judgements
AGREEMENT_OVER = 200  # of the newest judgements
LEAST_SHARED = 20  # below, an agreement would say what others think of single pairs


@dataclass(frozen=True, slots=True)
class Past:
    """A pair as its annotator saw it, and what became of it."""

    assignment: UUID
    at: datetime
    prompt: str
    a: str
    b: str
    answer: str = ""  # in words, as on the button
    side: str = ""  # "a", "b", or "" for neither
    rationale: str = ""
    flags: tuple[str, ...] = ()
    is_changed: bool = False
    changeable_until: datetime | None = None  # None: no more
    skip_reason: str = ""
    may_take_up: bool = False


@dataclass(frozen=True, slots=True)
class PastPage:
    rows: list[Past]
    older_than: UUID | None  # the assignment before which the next page begins


def list_judged(*, project: Project, annotator: User, before: UUID | None = None) -> PastPage:
    """Their answers that stand, the newest first. `before`: an assignment of theirs, from which the page goes back."""
    first_answered = (
        Judgement.objects.filter(assignment=OuterRef("assignment")).order_by().values("assignment").annotate(at=Min("created_at"))
    )
    own = Judgement.objects.standing().filter(annotator=annotator, comparison__project=project, batch=None)
    if before and (last := own.filter(assignment=before).first()):
        own = own.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk))
    rows = (
        own.select_related("assignment__comparison__prompt", "assignment__comparison__first", "assignment__comparison__second")
        .annotate(first_at=Subquery(first_answered.values("at")))
        .order_by("-created_at", "-pk")[: PAGE + 1]
    )
    found = [_judged(judgement, project) for judgement in rows]
    return PastPage(found[:PAGE], found[PAGE - 1].assignment if len(found) > PAGE else None)


def list_skipped(*, project: Project, annotator: User, before: UUID | None = None) -> PastPage:
    """The pairs they have skipped, the newest first."""
    own = Assignment.objects.filter(annotator=annotator, state=AssignmentState.SKIPPED, comparison__project=project)
    own = own.filter(skipped_at__isnull=False)
    if before and (last := own.filter(pk=before).first()):
        own = own.filter(Q(skipped_at__lt=last.skipped_at) | Q(skipped_at=last.skipped_at, pk__lt=last.pk))
    rows = own.select_related("comparison__prompt", "comparison__first", "comparison__second").order_by("-skipped_at", "-pk")
    found = [_skipped(assignment) for assignment in rows[: PAGE + 1]]
    return PastPage(found[:PAGE], found[PAGE - 1].assignment if len(found) > PAGE else None)


def _judged(judgement: Judgement, project: Project) -> Past:
    until = judgement.first_at + timedelta(minutes=project.changeable_minutes)
    answer = answer_in_words(judgement)
    return Past(
        **_texts(judgement.assignment),
        at=judgement.created_at,
        answer=answer,
        side=answer[0].lower() if judgement.strength else "",
        rationale=judgement.rationale,
        flags=tuple(judgement.flags),
        is_changed=judgement.replaces_id is not None,
        changeable_until=until if until > timezone.now() else None,
    )


def _skipped(assignment: Assignment) -> Past:
    comparison = assignment.comparison
    return Past(
        **_texts(assignment),
        at=assignment.skipped_at,
        skip_reason=assignment.skip_reason,
        may_take_up=comparison.state == ComparisonState.OPEN and comparison.free_places > 0,
    )


def _texts(assignment: Assignment) -> dict[str, object]:
    comparison = assignment.comparison
    texts = [_excerpt(comparison.first.text), _excerpt(comparison.second.text)]
    a, b = reversed(texts) if assignment.swapped else texts
    return {"assignment": assignment.pk, "prompt": _excerpt(comparison.prompt.last_message), "a": a, "b": b}


def _excerpt(text: str) -> str:
    plain = " ".join(text[: 2 * EXCERPT].split())
    return plain if len(plain) <= EXCERPT and len(text) <= 2 * EXCERPT else f"{plain[:EXCERPT].rstrip()} …"


@dataclass(frozen=True, slots=True)
class OwnFigures:
    today: int
    week: int  # since Monday
    median_seconds: float | None  # of the newest PACE_OVER
    per_hour: int | None  # today, in an hour of visible time
    agreeing: tuple[int, int] | None  # alike, of: with what most of the others said; None where it is not shown


def own_figures(*, project: Project, annotator: User) -> OwnFigures:
    own = Judgement.objects.standing().filter(annotator=annotator, comparison__project=project, batch=None)
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=midnight.weekday())
    today = Q(created_at__gte=midnight)
    counted = own.filter(created_at__gte=monday).aggregate(
        week=Count("pk"), day=Count("pk", filter=today), spent=Sum("seconds", filter=today),
        timed=Count("pk", filter=today & Q(seconds__isnull=False)),
    )  # fmt: skip
    newest = own.filter(seconds__isnull=False).order_by("-created_at").values_list("seconds", flat=True)[:PACE_OVER]
    seconds = list(newest)
    return OwnFigures(
        today=counted["day"],
        week=counted["week"],
        median_seconds=median(seconds) if seconds else None,
        per_hour=round(3600 * counted["timed"] / counted["spent"]) if counted["spent"] else None,
        agreeing=_agreement(own, annotator) if project.shows_agreement else None,
    )


def _agreement(own: QuerySet[Judgement], annotator: User) -> tuple[int, int] | None:
    """Over pairs that are done: what they say of one that still waits cannot be found out by asking again."""
    done = own.filter(comparison__state=ComparisonState.DONE).order_by("-created_at")
    newest = list(done.values_list("comparison_id", flat=True)[:AGREEMENT_OVER])
    units: defaultdict[int, dict[int, str]] = defaultdict(dict)
    answers = Judgement.objects.voting().filter(comparison__in=newest)
    for comparison, person, outcome in answers.values_list("comparison_id", "annotator_id", "outcome"):
        units[comparison][person] = outcome
    shared = against_the_others(unit for unit in units.values() if len(unit) > 1).get(annotator.pk)
    return shared if shared and shared[1] >= LEAST_SHARED else None
