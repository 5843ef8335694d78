"""Verdicts: what a rule makes of the votes on one comparison. Pure functions; `annotate.consensus.triples` reads the votes."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from annotate.models import Decision
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from annotate.models.scale import Grades
from annotate.quality.reliability import Estimate


class NoTriple(StrEnum):
    """Why a comparison that somebody has judged gives no triple."""

    INCOMPLETE = "incomplete"  # it waits for more judgements
    DISAGREEMENT = "disagreement"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    IDENTICAL = "identical"  # both answers are the same but for white space at their ends
    WITHDRAWN = "withdrawn"  # every judgement was taken back
    UNCERTAIN = "uncertain"  # by reliability, no answer is likely enough
    WEAK = "weak"  # the better answer is better by less than the project's least grade


@dataclass(frozen=True, slots=True)
class Vote:
    """One standing judgement, as a rule sees it."""

    judgement_id: int
    annotator_id: int
    outcome: Outcome
    strength: int
    grades: Grades = Grades.TWO  # the scale it was given on
    edited_text: str = ""

    @property
    def rank(self) -> int:
        """Of the grade's words among those of all scales, 1 to 4."""
        return self.grades.rank(min(max(self.strength, 1), self.grades.strengths))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A triple that a rule makes of a comparison: `winner` is FIRST or SECOND; `weight` is how much the triple counts.

    `votes` are those it rests on, the outvoted ones included, the over-ruled ones not. `rank` is the mean rank of the grade
    by which those who chose the winner did so."""

    winner: Outcome
    strength: float
    weight: float
    votes: tuple[Vote, ...]
    rank: float = 3.0


Made = list[Verdict] | NoTriple  # what a rule gives
Rule = Callable[[Sequence[Vote]], Made]


def majority(votes: Sequence[Vote]) -> Made:
    """The outcome that more than half of all votes gave; ties and both-bad are votes like the others.

    first, first, second → first.   first, tie → disagreement (half is not more than half).   tie, tie, first → tie.
    A plurality is not enough: of first, first, second, tie, only half preferred the first.
    """
    outcome, number = Counter(vote.outcome for vote in votes).most_common(1)[0]
    return _agreed(outcome, votes) if 2 * number > len(votes) else NoTriple.DISAGREEMENT


def unanimous(votes: Sequence[Vote]) -> Made:
    """The outcome that all votes gave.   first, first → first.   first, first, tie → disagreement.   tie, tie → tie."""
    outcomes = {vote.outcome for vote in votes}
    return _agreed(outcomes.pop(), votes) if len(outcomes) == 1 else NoTriple.DISAGREEMENT


def every(votes: Sequence[Vote]) -> Made:
    """A triple for each vote that chose a side, with its own strength: who disagree give triples that pull apart.

    first, second, tie → first and second.   tie, tie → tie.   tie, both bad → disagreement.
    """
    sided = [vote for vote in votes if vote.outcome in (Outcome.FIRST, Outcome.SECOND)]
    return [Verdict(vote.outcome, float(vote.strength), 1.0, (vote,), vote.rank) for vote in sided] or unanimous(votes)


def by_reliability(votes: Sequence[Vote], estimate: Estimate, bar: float) -> Made:
    """The likeliest outcome, if its probability reaches the bar (`annotate.quality.reliability`); that probability is the weight.

    Nobody but unreliable people may have said it: then its strength is the mean of all who chose a side.
    """
    outcome, probability = estimate.likeliest((vote.annotator_id, vote.outcome.value) for vote in votes)
    if probability < bar:
        return NoTriple.UNCERTAIN
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return NoTriple(outcome)
    alike = [vote for vote in votes if vote.outcome == outcome] or [vote for vote in votes if vote.strength]
    return [Verdict(Outcome(outcome), _mean(v.strength for v in alike), probability, tuple(votes), _mean(v.rank for v in alike))]


def settled(settlement: Decision, votes: Sequence[Vote]) -> Made:
    """What the manager decided, resting on the votes that say the same; maybe on none."""
    if settlement.outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return NoTriple(settlement.outcome)
    alike = tuple(vote for vote in votes if vote.outcome == settlement.outcome)
    rank = Grades(settlement.grades).rank(settlement.strength)
    return [Verdict(Outcome(settlement.outcome), float(settlement.strength), 1.0, alike, rank)]


def _agreed(outcome: Outcome, votes: Sequence[Vote]) -> Made:
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return NoTriple(outcome.value)
    alike = [vote for vote in votes if vote.outcome == outcome]
    return [Verdict(outcome, _mean(v.strength for v in alike), 1.0, tuple(votes), _mean(v.rank for v in alike))]


def _mean(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return sum(found) / len(found) if found else 1.0


RULES: dict[str, Rule] = {
    Consensus.MAJORITY: majority, Consensus.UNANIMOUS: unanimous, Consensus.EVERY: every,
}  # fmt: skip
WAITS = {Consensus.MAJORITY, Consensus.UNANIMOUS, Consensus.RELIABILITY}  # until a comparison has all the judgements it needs
