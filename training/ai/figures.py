"""What an AI annotator is worth: how often its orders agree, which place it favours, whether people say the same."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from annotate.models import Judgement
from annotate.models.judgement import Outcome
from annotate.quality.figures import Share
from training.models import AiAnnotator
from training.models.ai_annotator import Choice

NEWEST = 5000  # verdicts that are looked at
FEW = 20  # with fewer, nothing is said about it
LEANS = 0.6  # of its choices one place, for certain


@dataclass(frozen=True)
class AiFigures:
    judged: int
    skipped: int
    divided: Share  # pairs of which each order said another side
    chose_a: Share  # of all that it was shown, sides chosen: what was shown first
    with_people: Share  # of the pairs that people chose a side of, too: the same side as most of them
    among_people: Share  # of two people's sides of one of its pairs: the same

    @property
    def worth(self) -> tuple[str, str]:
        """A notice's tone, and what a lead should make of the figures."""
        if not self.judged:
            return "info", "It has judged nothing yet."
        if self.divided.of >= FEW and self.divided.value > 0.5:
            return "warn", (
                "When the answers change places, it mostly changes its mind: it judges places, not answers. Its ties say little. "
                "Try another model or a shorter rubric before its judgements count."
            )
        low, high = self.chose_a.range
        if self.chose_a.of >= FEW and (low > LEANS or high < 1 - LEANS):
            return "warn", "It favours a place. Only what it says the same in both orders counts; the rest are ties."
        if self.with_people.of < FEW:
            return "info", (
                f"Too little to tell: both it and people chose a side in {self.with_people.of} pairs, and {FEW} are needed. "
                "Ask for two judgements or more per comparison in Settings."
            )
        return self._beside_people()

    def _beside_people(self) -> tuple[str, str]:
        low, high = self.with_people.range
        if high < 0.5:
            return "error", "It says the opposite of what people say more often than chance explains. Read its rubric again."
        if low <= 0.5:
            return "warn", "So far it agrees with people no more than a coin would. Do not let its judgements count yet."
        if self.among_people.of < FEW:
            return (
                "good",
                "It agrees with people more than chance explains. How much people agree with each other is not known yet.",
            )
        if high < self.among_people.range[0]:
            return (
                "warn",
                "It agrees with people less than people agree with each other. Let it sort the queue rather than count.",
            )
        return "good", "It agrees with people about as much as people agree with each other."


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
        **_beside_people({comparison: outcome for comparison, outcome, *_ in rows}),
    )


def _beside_people(said: dict[int, str]) -> dict[str, Share]:
    """Where it and most of the people who judged a pair chose a side: how often the same. And how often two people did."""
    sided = {pk: outcome for pk, outcome in said.items() if outcome in (Outcome.FIRST, Outcome.SECOND)}
    votes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    theirs = Judgement.objects.standing().filter(comparison__in=sided, annotator__is_ai=False)
    for comparison, outcome in theirs.values_list("comparison_id", "outcome"):
        votes[comparison][outcome] += 1
    same = of = alike = shared = 0
    for comparison, counted in votes.items():
        sides = [counted[Outcome.FIRST], counted[Outcome.SECOND]]
        alike, shared = alike + sum(math.comb(side, 2) for side in sides), shared + math.comb(sum(sides), 2)
        (first, most), *others = counted.most_common()
        if first in (Outcome.FIRST, Outcome.SECOND) and (not others or most > others[0][1]):
            of += 1
            same += first == sided[comparison]
    return {"with_people": Share(same, of), "among_people": Share(alike, shared)}
