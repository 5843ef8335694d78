"""How many judgements stand in a project: counted if they are few, else as the clock counted them and what happened since."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time

from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone

from annotate.models import Judgement, Project, User
from annotate.models.judgement import Outcome
from annotate.quality.counts import Counted, counted_by_clock, is_kept
from annotate.quality.tallies import Tally

SIDELESS = (Outcome.TIE, Outcome.BOTH_BAD)
NOTHING = Counted(Tally(), {})


@dataclass(frozen=True)
class Judged:
    all: int
    sideless: int  # of these, ties and both bad
    last: datetime | None  # when the newest was given


def count_judged(project: Project) -> Judged:
    before = _counted_before(project)
    come, gone = _come_and_gone(project, before)
    numbers = {"all": Count("pk"), "sideless": Count("pk", filter=Q(outcome__in=SIDELESS))}
    more, less = come.aggregate(**numbers, last=Max("created_at")), gone.aggregate(**numbers) if before.at else {}
    outcomes = before.tally.everybody().outcomes
    last = more["last"]
    if last is None and before.newest:
        last = Judgement.objects.filter(pk=before.newest).values_list("created_at", flat=True).first()
    return Judged(
        all=outcomes.total() + more["all"] - less.get("all", 0),
        sideless=sum(outcomes[each] for each in SIDELESS) + more["sideless"] - less.get("sideless", 0),
        last=last,
    )


def count_judged_since(project: Project, day: date) -> Counter[int]:
    """By person: judgements of that day and later that stand. What came from files belongs to nobody who is here."""
    before, first = _counted_before(project), day.isoformat()
    since = Q(created_at__gte=timezone.make_aware(datetime.combine(day, time.min)))
    come, gone = (
        Counter(dict(rows.filter(since).order_by().values_list("annotator_id").annotate(n=Count("pk"))))
        for rows in _come_and_gone(project, before)
    )
    for person, own in before.tally.people.items():
        come[person] += sum(number for each, number in own.days.items() if each >= first)
    come.subtract(gone)
    return come


def people_of(project: Project) -> QuerySet[User]:
    """Who is a member, or has judged here."""
    before = _counted_before(project)
    if before.at:  # all others who have come since are members
        return User.objects.filter(Q(memberships__project=project) | Q(pk__in=before.tally.people)).distinct()
    return User.objects.filter(Q(memberships__project=project) | Q(judgements__comparison__project=project)).distinct()


def _counted_before(project: Project) -> Counted:
    """By the clock; nothing if there is little to count, if the clock has not come to it, or while what an import brought in is
    being counted out: those judgements are gone without a trace."""
    found = counted_by_clock(project) if is_kept(project) else None
    if found is None or project.imports.filter(undone_at__gte=found.at).exists():
        return NOTHING
    return found


def _come_and_gone(project: Project, before: Counted):
    """Judgements that stand and are not in what was counted, and those in it that have been withdrawn since."""
    own = Judgement.objects.filter(comparison__project=project)
    gone = own.filter(pk__lte=before.newest, withdrawn_at__gt=before.at) if before.at else own.none()
    return own.standing().filter(pk__gt=before.newest), gone
