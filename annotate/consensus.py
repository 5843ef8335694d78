"""Consensus: the judgements of one comparison become a triple (x, y_w, y_l), or none, by the project's rule.

What a manager has settled (`annotate.review`) wins over rule and judgements: those that say otherwise leave the triple.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db.models import Case, Exists, OuterRef, Q, When

from .models import Decision, Judgement, Project
from .models.comparison import ComparisonState, Purpose
from .models.completion import FinishReason
from .models.judgement import Outcome
from .models.project import Consensus
from .models.prompt import Split

READ_AT_ONCE = 2000  # rows held while reading


class NoTriple(StrEnum):
    """Why a comparison that somebody has judged gives no triple."""

    INCOMPLETE = "incomplete"  # it waits for more judgements
    DISAGREEMENT = "disagreement"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    IDENTICAL = "identical"  # both answers are the same but for white space at their ends
    WITHDRAWN = "withdrawn"  # every judgement was taken back


@dataclass(frozen=True, slots=True)
class Vote:
    """One standing judgement, as a rule sees it."""

    judgement_id: int
    annotator_id: int
    outcome: Outcome
    strength: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A triple that a rule makes of a comparison: `winner` is FIRST or SECOND; `weight` is how much the triple counts.

    `votes` are those it rests on, the outvoted ones included, the over-ruled ones not."""

    winner: Outcome
    strength: float
    weight: float
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class Triple:
    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    split: Split
    strength: float  # the mean strength of those who chose the winner
    weight: float
    comparison_id: int
    judgement_ids: tuple[int, ...]  # those of its verdict
    chosen_version_id: int | None
    rejected_version_id: int | None
    chosen_truncated: bool = False  # cut off at the generator's token limit: it did not end by itself
    rejected_truncated: bool = False
    settled_by: int | None = None  # the manager's decision that made it


@dataclass(frozen=True, slots=True)
class Settlement:
    """`triples` in the order of their comparisons. `counts` has every reason of NoTriple, in comparisons.

    Each training comparison that was ever judged either gives triples (one, but by the rule “every”) or is counted once.
    """

    rule: str
    triples: list[Triple]
    counts: dict[str, int]


@dataclass(frozen=True)
class Chosen:
    """Which judgements count, as conditions on Judgement rows, and by which rule; all of them by the project's if not given."""

    pairs: Q = field(default_factory=Q)  # of their comparisons
    votes: Q = field(default_factory=Q)  # of themselves: a done comparison is then decided by those that are left
    rule: str = ""


EVERYTHING = Chosen()

Made = list[Verdict] | NoTriple  # what a rule gives


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
    return [Verdict(vote.outcome, float(vote.strength), 1.0, (vote,)) for vote in sided] or unanimous(votes)


def settled(settlement: Decision, votes: Sequence[Vote]) -> Made:
    """What the manager decided, resting on the votes that say the same; maybe on none."""
    if settlement.outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return NoTriple(settlement.outcome)
    alike = tuple(vote for vote in votes if vote.outcome == settlement.outcome)
    return [Verdict(Outcome(settlement.outcome), float(settlement.strength), 1.0, alike)]


def _agreed(outcome: Outcome, votes: Sequence[Vote]) -> Made:
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return NoTriple(outcome.value)
    strengths = [vote.strength for vote in votes if vote.outcome == outcome]
    return [Verdict(outcome, sum(strengths) / len(strengths), 1.0, tuple(votes))]


RULES: dict[str, Callable[[Sequence[Vote]], Made]] = {
    Consensus.MAJORITY: majority, Consensus.UNANIMOUS: unanimous, Consensus.EVERY: every,
}  # fmt: skip
WAITS = {Consensus.MAJORITY, Consensus.UNANIMOUS}  # until a comparison has all the judgements it needs


def settle(*, project: Project, chosen: Chosen = EVERYTHING) -> Settlement:
    """Every triple that the standing judgements of the project's training comparisons give. Three queries."""
    counts = Counter(dict.fromkeys(NoTriple, 0))
    triples = list(read_triples(project=project, counts=counts, chosen=chosen))
    counts[NoTriple.WITHDRAWN] = _count_withdrawn(project, chosen)
    rule = chosen.rule or project.consensus
    return Settlement(rule=rule, triples=triples, counts={str(reason): n for reason, n in counts.items()})


def read_triples(*, project: Project, counts: Counter[NoTriple], chosen: Chosen = EVERYTHING) -> Iterator[Triple]:
    """The triples as they are read, in constant memory. `counts` learns why other comparisons give none."""
    settlements = _read_settlements(project)
    for row, votes in _read_votes(project, chosen):
        if chosen.votes and row["state"] == ComparisonState.DONE:
            row["required"] = min(row["required"], len(votes))
        settlement = settlements.get(row["id"])
        made = _judge_comparison(row, votes, chosen.rule or project.consensus, settlement)
        if isinstance(made, NoTriple):
            counts[made] += 1
        else:
            yield from (_triple(row, verdict, settlement) for verdict in made)


VOTE = ("pk", "annotator_id", "outcome", "strength", "counts")
COMPARISON = {
    "id": "comparison_id",
    "required": "comparison__judgements_required",
    "state": "comparison__state",
    "messages": "comparison__prompt__messages",
    "split": "comparison__prompt__split",
    "first": "comparison__first__text",
    "second": "comparison__second__text",
    "first_version": "comparison__first__version_id",
    "second_version": "comparison__second__version_id",
    "first_finish": "comparison__first__finish_reason",
    "second_finish": "comparison__second__finish_reason",
}


def _read_votes(project: Project, chosen: Chosen) -> Iterator[tuple[dict[str, Any], list[Vote]]]:
    """Each judged training comparison with its standing votes, in order, read in one streamed query.

    A settled one comes even if none of its judgements counts.
    """
    counts = chosen.votes & Q(withdrawn_at=None)
    is_settled = Exists(Decision.objects.settlements().filter(comparison=OuterRef("comparison_id")))
    rows = (
        Judgement.objects.filter(
            chosen.pairs, counts | Q(is_settled), comparison__project=project, comparison__purpose=Purpose.TRAIN
        )
        .annotate(counts=Case(When(counts, then=True), default=False))
        .order_by("comparison_id", "pk")
        .values_list(*VOTE, *COMPARISON.values())
        .iterator(chunk_size=READ_AT_ONCE)
    )
    for _, group in groupby(rows, key=itemgetter(len(VOTE))):
        same = list(group)
        votes = [Vote(pk, who, Outcome(outcome), strength) for pk, who, outcome, strength, counts, *_ in same if counts]
        yield dict(zip(COMPARISON, same[0][len(VOTE) :], strict=True)), votes


def _read_settlements(project: Project) -> dict[int, Decision]:
    """By comparison. They are made by hand, so there are few."""
    return {decision.comparison_id: decision for decision in Decision.objects.settlements().filter(comparison__project=project)}


def _judge_comparison(row: dict[str, Any], votes: list[Vote], rule: str, settlement: Decision | None) -> Made:
    if settlement is None and len(votes) < row["required"] and rule in WAITS:
        return NoTriple.INCOMPLETE
    made = settled(settlement, votes) if settlement else RULES[rule](votes)
    if not isinstance(made, NoTriple) and row["first"].strip() == row["second"].strip():
        return NoTriple.IDENTICAL
    return made


def _triple(row: dict[str, Any], verdict: Verdict, settlement: Decision | None) -> Triple:
    won, lost = ("first", "second") if verdict.winner == Outcome.FIRST else ("second", "first")
    return Triple(
        prompt=row["messages"],
        chosen=row[won],
        rejected=row[lost],
        split=Split(row["split"]),
        strength=verdict.strength,
        weight=verdict.weight,
        comparison_id=row["id"],
        judgement_ids=tuple(vote.judgement_id for vote in verdict.votes),
        chosen_version_id=row[f"{won}_version"],
        rejected_version_id=row[f"{lost}_version"],
        chosen_truncated=row[f"{won}_finish"] == FinishReason.LENGTH,
        rejected_truncated=row[f"{lost}_finish"] == FinishReason.LENGTH,
        settled_by=settlement and settlement.pk,
    )


def _count_withdrawn(project: Project, chosen: Chosen) -> int:
    """Comparisons that were judged once, of which no judgement stands, and which nobody has settled."""
    judgements = Judgement.objects.filter(chosen.pairs, chosen.votes, comparison=OuterRef("pk"))
    settlements = Decision.objects.settlements().filter(comparison=OuterRef("pk"))
    comparisons = project.comparisons.filter(purpose=Purpose.TRAIN)
    return comparisons.filter(Exists(judgements), ~Exists(judgements.standing()), ~Exists(settlements)).count()
