"""Gold: comparisons whose answer is known. They show who reads, and never become triples.

A comparison is gold for a time: marking changes its purpose, unmarking changes it back, and what was judged before, in
between and after stays told apart by its assignment (`is_gold`).
"""

from collections import defaultdict

from django.db import transaction
from django.utils import timezone

from annotate.gold.scale_line import places_of
from annotate.models import Assignment, Comparison, Dispute, GoldAnswer, Judgement, Project, User
from annotate.models.comparison import Purpose
from annotate.models.gold import BEST, WORST
from annotate.models.judgement import Outcome
from annotate.models.scale import Grades
from annotate.quality.shares import Share
from annotate.queue.places import lock_comparison, recount_places
from annotate.review.disputes import note_disputes
from annotate.text.typed import storable

MAX_REASON = 2000


class GoldRefused(Exception):
    """A comparison that was not marked; the message says why and what next."""


@transaction.atomic
def mark_gold(
    *, comparison: Comparison, low: int | None, high: int | None, by: User, accepts_both_bad: bool = False, reason: str = ""
) -> GoldAnswer:
    """Makes it gold, or changes what is accepted of it. From `low` to `high` on the line from WORST (the second completion is
    significantly better) by 0 (a tie) to BEST; None for both where only “both bad” is right."""
    if (low is None) != (high is None) or (low is not None and not WORST <= low <= high <= BEST):
        raise GoldRefused("Choose the first and the last answer that is right, in the order of the list.")
    if low is None and not accepts_both_bad:
        raise GoldRefused("Choose the answers that are right.")
    locked = lock_comparison(comparison.pk)
    if locked.purpose == Purpose.EVALUATE:
        raise GoldRefused("This pair is part of a blind evaluation: its answer is not known. Choose another.")
    if locked.handout_id:
        raise GoldRefused("This pair is handed out to named people. Release that batch first.")
    answer, _ = GoldAnswer.objects.update_or_create(
        comparison=locked,
        defaults={
            "low": low, "high": high, "accepts_both_bad": accepts_both_bad, "by": by,
            "reason": storable(reason).strip()[:MAX_REASON],
        },
    )  # fmt: skip
    Comparison.objects.filter(pk=locked.pk).update(purpose=Purpose.GOLD)
    Dispute.objects.filter(pk=locked.pk).delete()
    recount_places([locked.pk])
    return answer


@transaction.atomic
def unmark_gold(*, comparison: Comparison) -> None:
    """It is a training comparison again, with the judgements it got as one. Those it got as gold stay in the record."""
    lock_comparison(comparison.pk)
    if Comparison.objects.filter(pk=comparison.pk, purpose=Purpose.GOLD).update(purpose=Purpose.TRAIN):
        GoldAnswer.objects.filter(pk=comparison.pk).update(marked_at=timezone.now())
        recount_places([comparison.pk])
        note_disputes([comparison.pk])


def is_right(answer: GoldAnswer, *, outcome: str, strength: int, grades: int) -> bool:
    """Whether a judgement lies in what is accepted. A grade that stands for several counts if one of them does: on a scale of
    two grades, "better" is right wherever the side is."""
    if outcome == Outcome.BOTH_BAD:
        return answer.accepts_both_bad
    if answer.low is None:
        return False
    if outcome == Outcome.TIE:
        return answer.low <= 0 <= answer.high
    sign = 1 if outcome == Outcome.FIRST else -1
    return any(answer.low <= sign * rank <= answer.high for rank in Grades(grades).covers(strength))


def accuracy_of(project: Project) -> dict[int, Share]:
    """By person: how many of their answers to what is gold now are right. Two queries, one where nothing is gold."""
    if not project.comparisons.filter(purpose=Purpose.GOLD).exists():
        return {}
    rows = Judgement.objects.standing().filter(
        comparison__project=project, comparison__purpose=Purpose.GOLD, assignment__is_gold=True
    )
    counts: defaultdict[int, list[bool]] = defaultdict(list)
    for right, who in _checked(rows):
        counts[who].append(right)
    return {who: Share(sum(found), len(found)) for who, found in counts.items()}


def accuracy_on(comparisons: list[int]) -> dict[int, Share]:
    """By comparison: how many of the answers it got as gold are right. One query."""
    rows = Judgement.objects.standing().filter(comparison__in=comparisons, assignment__is_gold=True)
    counts: defaultdict[int, list[bool]] = defaultdict(list)
    for right, which in _checked(rows, by="comparison_id"):
        counts[which].append(right)
    return {which: Share(sum(found), len(found)) for which, found in counts.items()}


def _checked(judgements, by: str = "annotator_id") -> list[tuple[bool, int]]:
    rows = judgements.values_list(
        by, "outcome", "strength", "assignment__grades", "comparison__gold__low", "comparison__gold__high",
        "comparison__gold__accepts_both_bad",
    )  # fmt: skip
    return [
        (is_right(GoldAnswer(low=low, high=high, accepts_both_bad=bad), outcome=outcome, strength=strength, grades=grades), key)
        for key, outcome, strength, grades, low, high, bad in rows
        if bad is not None
    ]


def count_right(*, project: Project, annotator: User, first: int) -> Share:
    """Of the first so many answers of theirs that stand and were given to what is gold now."""
    rows = Judgement.objects.standing().filter(
        comparison__project=project, comparison__purpose=Purpose.GOLD, annotator=annotator, assignment__is_gold=True
    )
    found = [right for right, _ in _checked(rows.order_by("created_at", "pk")[:first])]
    return Share(sum(found), len(found))


# -- in words ----------------------------------------------------------------------------------------------


def expected_in_words(answer: GoldAnswer, *, grades: Grades, swapped: bool = False) -> str:
    """What is right, in the words of a scale's buttons, with the first completion as A (as B if `swapped`).

    "A better or A significantly better"; "Tie to B better"; "Both bad".
    """
    said = []
    if answer.low is not None:
        low, high = (-answer.high, -answer.low) if swapped else (answer.low, answer.high)
        right = [place.label for place in places_of(grades) if place.low <= high and low <= place.high]
        said.append(f"{right[0]} to {right[-1]}" if len(right) > 2 else " or ".join(right))
    if answer.accepts_both_bad:
        said.append("both bad" if said else "Both bad")
    return ", or ".join(said)


def feedback_on(judgement: Judgement) -> dict[str, str | bool] | None:
    """What the annotator is told after a known answer, where the project gives feedback: was it right, what was expected, why."""
    assignment = judgement.assignment
    project = assignment.comparison.project
    if not (project.gold_feedback and assignment.is_gold):
        return None
    answer = GoldAnswer.objects.filter(comparison=judgement.comparison_id, comparison__purpose=Purpose.GOLD).first()
    if answer is None:
        return None
    return {
        "right": is_right(answer, outcome=judgement.outcome, strength=judgement.strength, grades=assignment.grades),
        "expected": expected_in_words(answer, grades=Grades(assignment.grades), swapped=assignment.swapped),
        "reason": answer.reason,
        "prompt": assignment.comparison.prompt.last_message[:120],
    }


def is_told(assignment: Assignment) -> bool:
    """Whether the annotator has been told what was expected: then the answer cannot be changed any more."""
    return assignment.is_gold and assignment.comparison.project.gold_feedback
