"""What came of each prompt of an evaluation, with both answers: for those who manage the project, once it has been judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from annotate.text.counting import counted
from training.evaluations.standings import Result, Standing, value_of
from training.evaluations.votes import votes
from training.models import Evaluation

FEW = 100  # results: so many are named one by one in a query
OUTCOMES = {"won": "Won", "tied": "Tied", "lost": "Lost"}


@dataclass(frozen=True)
class Row:
    prompt: str
    ours: str
    theirs: str
    value: float
    judged: int  # by so many; 0: both answers are the same
    agree: int  # so many of them preferred the candidate
    ties: int
    longer: int

    @property
    def outcome(self) -> str:
        return outcome_of(self.value)

    @property
    def outcome_label(self) -> str:
        return OUTCOMES[self.outcome]

    @property
    def in_words(self) -> str:
        if not self.judged:
            return "both answers are the same"
        if self.ties == self.judged:
            return "a tie" if self.judged == 1 else "a tie for all"
        return f"preferred by {self.agree} of {self.judged}" + (f", {counted(self.ties, 'tie')}" if self.ties else "")


def outcome_of(value: float) -> str:
    return "won" if value > 0.5 else "lost" if value < 0.5 else "tied"


def judged_results(standing: Standing, *, only: str = "") -> list[Result]:
    """The newest first; with `only`, those of one outcome. What still waits is not shown: who looks may judge it yet."""
    return [result for result in reversed(standing.results) if only not in OUTCOMES or outcome_of(result.value) == only]


def results_table(evaluation: Evaluation, results: Sequence[Result]) -> list[Row]:
    """Three queries."""
    wanted = evaluation.pairs.select_related("prompt", "candidate", "opponent", "comparison")
    judgements = votes(evaluation.project).filter(comparison__evaluation_pair__evaluation=evaluation)
    if len(results) <= FEW:
        wanted = wanted.filter(pk__in=[result.pair_id for result in results])
        judgements = judgements.filter(comparison__evaluation_pair__in=[result.pair_id for result in results])
    pairs = {pair.pk: pair for pair in wanted}
    by_comparison = {pair.comparison_id: pair for pair in pairs.values() if pair.comparison_id}
    given: dict[int, Counter[float]] = {}
    for comparison_id, outcome in judgements.values_list("comparison_id", "outcome"):
        pair = by_comparison[comparison_id]
        value = value_of(outcome, candidate_is_first=pair.comparison.first_id == pair.candidate_id)
        given.setdefault(pair.pk, Counter())[value] += 1
    return [
        Row(
            prompt=pairs[result.pair_id].prompt.last_message,
            ours=pairs[result.pair_id].candidate.text,
            theirs=pairs[result.pair_id].opponent.text,
            value=result.value,
            judged=given.get(result.pair_id, Counter()).total(),
            agree=given.get(result.pair_id, Counter())[1.0],
            ties=given.get(result.pair_id, Counter())[0.5],
            longer=result.longer,
        )
        for result in results
    ]
