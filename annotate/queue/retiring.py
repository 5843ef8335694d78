"""Taking comparisons out of the queue that nobody needs to judge any more."""

from django.db.models import Exists, OuterRef, QuerySet

from annotate.models import Assignment, Comparison
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState


def retire(comparisons: QuerySet[Comparison]) -> int:
    """Retires the open ones that are on nobody's screen; returns how many. Their judgements stay.

    One that is being judged at this moment is left to whoever has it: ask again later.
    """
    leased = Assignment.objects.filter(comparison=OuterRef("pk"), state=AssignmentState.LEASED)
    found = list(comparisons.open().filter(~Exists(leased)).values_list("pk", flat=True))
    still_free = Comparison.objects.open().filter(~Exists(leased), pk__in=found)
    return still_free.update(state=ComparisonState.RETIRED)
