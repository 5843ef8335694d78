"""Places: how many more judgements a comparison can take.

    free_places = judgements required − standing judgements − leases that have not been released   (never below 0)
    and none, if a manager has settled the comparison

An AI annotator whose judgements do not count (`annotate.models.voters`) takes no place.

What keeps it exact: whoever adds, ends or changes an assignment or a judgement holds the lock of its comparison's
row, and counts again before letting go. On SQLite that lock is the immediate transaction.

What keeps it from deadlock: a transaction waits for the lock of one comparison, its first; further ones it takes only
when they are free at once (`skip_locked`).
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest

from annotate.models import Assignment, Comparison, Decision, Judgement
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.kept_queries import Given, KeptQuery, KeptUpdate
from annotate.models.voters import by_voters


def lock_comparison(comparison_id: int) -> Comparison:
    """The comparison, ours alone until the transaction ends."""
    return Comparison.objects.select_for_update(no_key=True).get(pk=comparison_id)


def lock_comparison_of(*, annotator_id: int, assignment_id: UUID) -> None:
    """The same, of an assignment of the annotator's, before that is read: what is read afterwards is how it stands."""
    if connection.features.has_select_for_update:
        _comparison_of.first(annotator=annotator_id, assignment=assignment_id)


_comparison_of = KeptQuery(
    lambda: (
        Comparison.objects.filter(assignments=Given("assignment", UUID), assignments__annotator=Given("annotator", int))
        .select_for_update(no_key=True, of=("self",))
        .values_list("pk")
    )
)


def lock_if_free(comparison_ids: Iterable[int]) -> list[int]:
    """Those of the comparisons that nobody else has locked; they are ours until the transaction ends."""
    found = Comparison.objects.select_for_update(no_key=True, skip_locked=True).filter(pk__in=comparison_ids)
    return list(found.values_list("pk", flat=True))


def _number_of(rows: QuerySet) -> Coalesce:
    per_comparison = rows.filter(comparison=OuterRef("pk")).order_by().values("comparison")
    return Coalesce(Subquery(per_comparison.annotate(n=Count("pk")).values("n")), 0)


def recount_places(comparison_ids: Iterable[int]) -> None:
    """Brings `free_places` and `state` of locked comparisons up to date with their leases and judgements.

    Enough judgements make a comparison done; an undone judgement opens it again; a retired one that somebody has
    judged after all (late) is open for the judgements it still lacks. A settled one is done, whatever it has. Gold is open to
    everybody, once each, and what is answered as gold takes no place: so it can be gold for a time and go on as before.
    """
    for pk in comparison_ids:
        _recount.run(comparison=pk)


def _recounted() -> tuple[QuerySet, dict[str, Any]]:
    standing = _number_of(Judgement.objects.voting().for_training())
    leased = _number_of(Assignment.objects.filter(by_voters(), state=AssignmentState.LEASED, is_gold=False))
    judged_since = Q(state=ComparisonState.RETIRED, n_standing__gt=0)
    is_settled = Exists(Decision.objects.settlements().filter(comparison=OuterRef("pk")))
    counted = Comparison.objects.filter(pk=Given("comparison", int))
    return counted.annotate(n_standing=standing, n_leased=leased, is_settled=is_settled), {
        "free_places": Case(
            When(purpose=Purpose.GOLD, then=F("judgements_required")),
            When(is_settled=True, then=Value(0)),
            default=Greatest(Value(0), F("judgements_required") - F("n_standing") - F("n_leased")),
        ),
        "state": Case(
            When(purpose=Purpose.GOLD, then=Value(ComparisonState.OPEN)),
            When(is_settled=True, then=Value(ComparisonState.DONE)),
            When(n_standing__gte=F("judgements_required"), then=Value(ComparisonState.DONE)),
            When(Q(state=ComparisonState.DONE) | judged_since, then=Value(ComparisonState.OPEN)),
            default=F("state"),
        ),
    }


_recount = KeptUpdate(_recounted)
