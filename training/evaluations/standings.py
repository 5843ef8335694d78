"""How an evaluation stands: what the judgements of its comparisons say so far.

A prompt counts once it has all the judgements that its comparison needs, as their mean: 1 for each that prefers the candidate's
answer, ½ for a tie or both bad. Prompts to which both versions gave the same answer are ties that nobody was asked about; they
come in at the pace of the others, so that what comes first is not chosen by how it ends.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F
from django.db.models.functions import Length

from annotate.models.comparison import ComparisonState
from annotate.models.judgement import Outcome
from training.evaluations.length_control import LengthControlled, length_controlled
from training.evaluations.sequential import EVERYTHING, Bounds, bounds
from training.evaluations.votes import votes
from training.evaluations.win_rates import win_rate
from training.models import Evaluation

FEW = 5  # prompts: with fewer, length is not controlled for


@dataclass(frozen=True)
class Result:
    """One prompt that counts."""

    pair_id: int
    value: float  # 1 for the candidate, 0 for its opponent
    longer: int  # characters that the candidate's answer is longer
    at: datetime | None  # when its last judgement came; None: both answers are the same


@dataclass(frozen=True)
class Standing:
    results: tuple[Result, ...]  # in the order in which they count
    waiting: int  # comparisons that still need judgements
    identical: int  # prompts with the same answer twice, all of them
    rate: float | None = None  # None: nothing counts yet
    low: float = 0.0  # 95 %, bootstrap over prompts: for whoever looks once, at the end
    high: float = 1.0
    bounds: Bounds = EVERYTHING  # 95 % at all times: for whoever looks while judgements come in
    controlled: LengthControlled | None = None

    @property
    def outcomes(self) -> list[float]:
        return [result.value for result in self.results]

    @property
    def judged(self) -> int:
        return len(self.results)

    @property
    def wins(self) -> int:
        return sum(result.value > 0.5 for result in self.results)

    @property
    def losses(self) -> int:
        return sum(result.value < 0.5 for result in self.results)

    @property
    def ties(self) -> int:
        return self.judged - self.wins - self.losses

    @property
    def in_words(self) -> str:
        """“64 % (55 to 72 % at any time)”."""
        if self.rate is None:
            return "nothing yet"
        return f"{100 * self.rate:.0f} % ({100 * self.bounds.low:.0f} to {100 * self.bounds.high:.0f} % at any time)"

    def figures(self) -> dict[str, Any]:
        """As plain numbers, to be stored."""
        stored: dict[str, Any] = {
            "prompts": self.judged, "wins": self.wins, "ties": self.ties, "losses": self.losses, "identical": self.identical,
            "rate": self.rate, "low": self.low, "high": self.high, "always_low": self.bounds.low, "always_high": self.bounds.high,
        }  # fmt: skip
        if self.controlled:
            stored |= {"length_controlled": self.controlled.value, "length_controlled_low": self.controlled.low,
                       "length_controlled_high": self.controlled.high, "length_slope": self.controlled.slope}  # fmt: skip
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in stored.items()}


def standing_of(evaluation: Evaluation) -> Standing:
    """Three queries."""
    results, waiting, identical = read_results(evaluation)
    if not results:
        return Standing((), waiting, identical)
    outcomes = [result.value for result in results]
    rate, low, high = win_rate(outcomes, seed=evaluation.pk)
    controlled = None
    if len(results) >= FEW:
        controlled = length_controlled(outcomes, [result.longer for result in results], seed=evaluation.pk)
    return Standing(tuple(results), waiting, identical, rate, low, high, bounds(outcomes), controlled)


def read_results(evaluation: Evaluation) -> tuple[list[Result], int, int]:
    """What counts, in order; how many comparisons wait; how many prompts got the same answer twice."""
    values = values_of_comparisons(evaluation)
    rows = (
        evaluation.pairs.annotate(longer=Length("candidate__text") - Length("opponent__text"), judging=F("comparison__state"))
        .order_by("pk")
        .values_list("pk", "comparison_id", "judging", "longer")
    )
    finished, same, waiting = [], [], 0
    for pk, comparison_id, state, longer in rows:
        if comparison_id is None:
            same.append(Result(pk, 0.5, longer, None))
        elif state == ComparisonState.DONE and comparison_id in values:
            value, at = values[comparison_id]
            finished.append(Result(pk, value, longer, at))
        elif state == ComparisonState.OPEN:
            waiting += 1
    finished.sort(key=lambda result: (result.at, result.pair_id))
    return _interleaved(finished, same, len(finished) + waiting), waiting, len(same)


def values_of_comparisons(evaluation: Evaluation) -> dict[int, tuple[float, datetime]]:
    """For each judged comparison, what share of its judgements prefers the candidate, and when the last came."""
    rows = (
        votes(evaluation.project)
        .filter(comparison__evaluation_pair__evaluation=evaluation)
        .values_list(
            "comparison_id", "outcome", "created_at", "comparison__first_id", "comparison__evaluation_pair__candidate_id"
        )
    )
    found: dict[int, list[tuple[float, datetime]]] = defaultdict(list)
    for comparison_id, outcome, at, first_id, candidate_id in rows:
        found[comparison_id].append((value_of(Outcome(outcome), candidate_is_first=first_id == candidate_id), at))
    return {pk: (sum(value for value, _ in each) / len(each), max(at for _, at in each)) for pk, each in found.items()}


def value_of(outcome: Outcome, *, candidate_is_first: bool) -> float:
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return 0.5
    return float((outcome == Outcome.FIRST) == candidate_is_first)


def _interleaved(finished: list[Result], same: Sequence[Result], all_asked: int) -> list[Result]:
    """The prompts nobody was asked about, spread evenly among those that will be judged; as many as are due by now."""
    if not all_asked:
        return list(same)
    ordered: list[Result] = []
    taken = 0
    for number, result in enumerate(finished, start=1):
        ordered.append(result)
        due = number * len(same) // all_asked
        ordered += same[taken:due]
        taken = due
    return ordered
