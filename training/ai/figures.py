"""What an AI annotator is worth: how often its orders agree, which place it favours, whether people say the same."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from annotate.models import Judgement
from annotate.models.judgement import Outcome
from annotate.quality.figures import Share
from training.models import AiAnnotator
from training.models.ai_annotator import Choice

NEWEST = 5000  # verdicts that are looked at


@dataclass(frozen=True)
class AiFigures:
    judged: int
    skipped: int
    divided: Share  # pairs of which each order said another side
    chose_a: Share  # of all that it was shown, sides chosen: what was shown first
    with_people: Share  # of the pairs that people chose a side of, too: the same side as most of them


def figures_of(annotator: AiAnnotator) -> AiFigures:
    """Three queries."""
    own = annotator.user.judgements.standing().filter(ai_verdict__isnull=False).order_by("-pk")
    rows = list(own.values_list("comparison_id", "outcome", "ai_verdict__shown_first", "ai_verdict__shown_second")[:NEWEST])
    divided = sum({first, second} == {Choice.FIRST, Choice.SECOND} for _, _, first, second in rows)
    sides = [side for _, _, first, second in rows for side in ((first, Choice.FIRST), (second, Choice.SECOND))]
    chosen = [choice == place_a for choice, place_a in sides if choice != Choice.TIE]
    return AiFigures(
        judged=own.count(),
        skipped=annotator.user.assignments.filter(state="skipped").count(),
        divided=Share(divided, len(rows)),
        chose_a=Share(sum(chosen), len(chosen)),
        with_people=_with_people({comparison: outcome for comparison, outcome, *_ in rows}),
    )


def _with_people(said: dict[int, str]) -> Share:
    """Where it and most of the people who judged a pair chose a side: how often the same."""
    sided = {pk: outcome for pk, outcome in said.items() if outcome in (Outcome.FIRST, Outcome.SECOND)}
    votes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    theirs = Judgement.objects.standing().filter(comparison__in=sided, annotator__is_ai=False)
    for comparison, outcome in theirs.values_list("comparison_id", "outcome"):
        votes[comparison][outcome] += 1
    same = of = 0
    for comparison, counted in votes.items():
        (first, most), *others = counted.most_common()
        if first in (Outcome.FIRST, Outcome.SECOND) and (not others or most > others[0][1]):
            of += 1
            same += first == sided[comparison]
    return Share(same, of)
