"""Disputes: which comparisons wait for a manager, and why.

Disagreement and flags follow from the judgements: whoever writes judgements calls `note_disputes` in the same transaction.
What only an estimate can tell (a low confidence, a contradiction to the model's reward) comes from a job, which calls
`mark_disputes` with the comparisons it has found and with all that it looked at.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from django.db import transaction
from django.utils import timezone

from annotate.models import Comparison, Decision, Dispute, Judgement
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from annotate.models.review import Reason

ROWS_AT_ONCE = 500  # SQLite takes a limited number of variables
FROM_JUDGEMENTS = (Reason.DISAGREEMENT, Reason.FLAGGED)


def is_divided(outcomes: Collection[str], *, rule: str) -> bool:
    """Whether no answer has more than half of the judgements; under the rule “unanimous”, whether they differ at all."""
    if len(outcomes) < 2:
        return False
    most = max(Counter(outcomes).values())
    return most < len(outcomes) if rule == Consensus.UNANIMOUS else 2 * most <= len(outcomes)


@transaction.atomic
def note_disputes(comparison_ids: Iterable[int]) -> None:
    """Brings the disputes of these (locked) comparisons up to date with their judgements. Four queries, also where none of
    them is for training: what a pair is for must not show in the time that an answer to it takes.

    A comparison is divided only when it has all the judgements it needs: before, more will come. One that a manager has
    sent for more comes back then, if it is still in dispute; one that is settled does not.
    """
    asked = list(comparison_ids)
    found = Comparison.objects.filter(pk__in=asked, purpose=Purpose.TRAIN).select_related("project")
    comparisons = {comparison.pk: comparison for comparison in found}
    given: defaultdict[int, list[str]] = defaultdict(list)
    flagged: set[int] = set()
    standing = Judgement.objects.voting().for_training().filter(comparison__in=asked)
    for pk, outcome, flags in standing.values_list("comparison_id", "outcome", "flags"):
        if pk not in comparisons:
            continue
        given[pk].append(Outcome(outcome))
        if flags:
            flagged.add(pk)
    done = {pk for pk, comparison in comparisons.items() if comparison.state == ComparisonState.DONE}
    divided = {pk for pk in done if is_divided(given[pk], rule=comparisons[pk].project.consensus)}
    known = {dispute.pk: dispute for dispute in Dispute.objects.filter(pk__in=asked) if dispute.pk in comparisons}
    _write(comparisons, known, {Reason.DISAGREEMENT: divided, Reason.FLAGGED: flagged}, complete=done)


@transaction.atomic
def mark_disputes(reason: Reason, *, of: Iterable[int], confidence: Mapping[int, float] | None = None, where: set[int]) -> None:
    """Of the comparisons looked at (`of`), those in `where` are in dispute for this reason, the others no more.

    `confidence` is kept beside those that are. What was handled stays handled, unless the reason is a new one.
    """
    comparisons = Comparison.objects.filter(pk__in=of, purpose=Purpose.TRAIN).in_bulk()
    known = Dispute.objects.in_bulk(list(comparisons))
    _write(comparisons, known, {reason: where}, complete=set(), confidence=confidence or {})


def _write(
    comparisons: Mapping[int, Comparison],
    known: Mapping[int, Dispute],
    found: Mapping[Reason, set[int]],
    *,
    complete: set[int],
    confidence: Mapping[int, float] | None = None,
) -> None:
    wanted = set().union(*found.values()) & comparisons.keys()
    if not known and not wanted:
        return
    settled = set(Decision.objects.settlements().filter(comparison__in=comparisons).values_list("comparison_id", flat=True))
    added, changed, over = [], [], []
    for pk in sorted(known.keys() | wanted):
        dispute = known.get(pk) or Dispute(comparison=comparisons[pk], project_id=comparisons[pk].project_id)
        before = set(dispute.reasons)
        for reason, where in found.items():
            setattr(dispute, reason.value, pk in where)
        if confidence and pk in confidence:
            dispute.confidence = confidence[pk]
        if not dispute.reasons:
            over.append(pk)
            continue
        if pk in settled:
            dispute.handled_at = dispute.handled_at or timezone.now()
        elif pk in complete or set(dispute.reasons) - before:
            dispute.handled_at = None
        (changed if pk in known else added).append(dispute)
    Dispute.objects.bulk_create(added, batch_size=ROWS_AT_ONCE)
    Dispute.objects.bulk_update(changed, [*Reason.values, "confidence", "handled_at"], batch_size=ROWS_AT_ONCE // 5)
    Dispute.objects.filter(pk__in=over).delete()
