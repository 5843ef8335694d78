"""More judgements where people disagree: one at a time, up to as many as the project allows."""

from django.db.models import F

from annotate.models import Comparison, Judgement
from annotate.models.comparison import ComparisonState, Purpose
from annotate.queue.places import recount_places
from annotate.review.disputes import is_divided


def ask_more_if_divided(*, comparison: Comparison) -> bool:
    """Opens a comparison that has all its judgements and no answer (`annotate.review.disputes.is_divided`) for one more.

    The caller holds its lock and has counted its places.
    """
    project = comparison.project
    if project.judgements_at_most <= comparison.judgements_required:
        return False
    done = Comparison.objects.filter(
        pk=comparison.pk, state=ComparisonState.DONE, purpose=Purpose.TRAIN, judgements_required__lt=project.judgements_at_most
    )
    outcomes = Judgement.objects.standing().for_training().filter(comparison=comparison).values_list("outcome", flat=True)
    if not is_divided(list(outcomes), rule=project.consensus):
        return False
    if not done.update(judgements_required=F("judgements_required") + 1):
        return False
    recount_places([comparison.pk])
    return True
