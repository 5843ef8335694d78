"""Consensus: the judgements of one comparison become a triple (x, y_w, y_l), or none, by the project's rule.

What a manager has settled (`annotate.review.decisions`) wins over rule and judgements: those that say otherwise leave the triple.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db.models import Case, Exists, OuterRef, Q, When

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.singles import Single
from annotate.consensus.verdicts import RULES, WAITS, Made, NoTriple, Rule, Verdict, Vote, by_reliability, settled
from annotate.models import Decision, Judgement, Project
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.completion import FinishReason
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from annotate.models.prompt import Split
from annotate.models.scale import Grades
from annotate.models.voters import by_voters
from annotate.quality.reliability import reliability_in

READ_AT_ONCE = 2000  # rows held while reading


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
    edited: bool = False  # the chosen answer was written by an annotator, who improved the better of the two
    tie: bool = False  # neither was preferred: "chosen" and "rejected" are then only names, and there is no strength


@dataclass(frozen=True, slots=True)
class Settlement:
    """`triples` in the order of their comparisons. `counts` has every reason of NoTriple, in comparisons.

    Each training comparison that was ever judged either gives triples (one, but by the rule “every”) or is counted once.
    """

    rule: str
    triples: list[Triple]
    counts: dict[str, int]
    singles: list[Single] = field(default_factory=list)  # where they were asked for


@dataclass(frozen=True)
class Chosen:
    """Which judgements count, as conditions on Judgement rows, and by which rule; all of them by the project's if not given."""

    pairs: Q = field(default_factory=Q)  # of their comparisons
    votes: Q = field(default_factory=Q)  # of themselves: a done comparison is then decided by those that are left
    rule: str = ""


EVERYTHING = Chosen()


def rule_of(project: Project, name: str, *, fresh: bool = False) -> Rule:
    """The rule by its name; by reliability it comes with the project's estimate, which `fresh` brings up to date."""
    if name != Consensus.RELIABILITY:
        return RULES[name]
    estimate = reliability_in(project, fresh=fresh)
    return lambda votes: by_reliability(votes, estimate, project.confidence_bar)


class Reading:
    """Every triple that the standing judgements of the project's training comparisons give, as they are read: in constant memory.

    `counts` learns why other comparisons give none, and is whole when all have been read. `with_singles`, `singles` holds both
    answers of each comparison of which consensus says that both are bad; `with_ties`, what consensus calls a tie is among the
    triples. With `fresh`, the rule “by reliability” estimates anew if judgements came since it last did. `pulse` is called every
    READ_AT_ONCE comparisons. Four queries.
    """

    def __init__(
        self,
        *,
        project: Project,
        chosen: Chosen = EVERYTHING,
        fresh: bool = False,
        with_singles: bool = False,
        with_ties: bool = False,
        pulse: Callable[[], object] = lambda: None,
    ) -> None:
        self.project, self.fresh, self.with_singles, self.with_ties, self.pulse = project, fresh, with_singles, with_ties, pulse
        self.chosen = _without_the_excluded(chosen, project)
        self.rule = chosen.rule or project.consensus
        self.counts = Counter(dict.fromkeys(NoTriple, 0))
        self.singles: list[Single] = []

    def __iter__(self) -> Iterator[Triple]:
        rule = rule_of(self.project, self.rule, fresh=self.fresh)
        settlements = _read_settlements(self.project)
        for number, (row, votes) in enumerate(_read_votes(self.project, self.chosen)):
            if not number % READ_AT_ONCE:
                self.pulse()
            if self.chosen.votes and row["state"] == ComparisonState.DONE:
                row["required"] = min(row["required"], len(votes))
            settlement = settlements.get(row["id"])
            waits, least = self.rule in WAITS, self.project.least_grade
            made = _judge_comparison(row, votes, rule, settlement, waits=waits, least_grade=least)
            if made == NoTriple.TIE and self.with_ties and not _is_identical(row):
                yield _tie(row, votes, settlement)
            elif isinstance(made, NoTriple):
                self.counts[made] += 1
                if made == NoTriple.BOTH_BAD and self.with_singles:
                    self.singles += _both_bad(row, votes)
            else:
                for verdict in made:
                    yield from _triples(row, verdict, settlement)
        self.counts[NoTriple.WITHDRAWN] = _count_withdrawn(self.project, self.chosen)


def settle(**asked: Any) -> Settlement:
    """All of a `Reading`, which is asked for in the same words, at once."""
    reading = Reading(**asked)
    triples = list(reading)
    counts = {str(reason): number for reason, number in reading.counts.items()}
    return Settlement(rule=reading.rule, triples=triples, counts=counts, singles=reading.singles)


def _without_the_excluded(chosen: Chosen, project: Project) -> Chosen:
    """The judgements of people whom a manager has excluded decide nothing (`annotate.consensus.exclusions`)."""
    people = excluded_people(project)
    return replace(chosen, votes=chosen.votes & ~Q(annotator__in=people)) if people else chosen


VOTE = ("counts", "pk", "annotator_id", "outcome", "strength", "assignment__grades", "edited_text")
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
    counts = chosen.votes & Q(withdrawn_at=None) & by_voters()
    is_settled = Exists(Decision.objects.settlements().filter(comparison=OuterRef("comparison_id")))
    rows = (
        Judgement.objects.filter(
            chosen.pairs, counts | Q(is_settled), comparison__project=project, comparison__purpose=Purpose.TRAIN
        )
        .for_training()
        .annotate(counts=Case(When(counts, then=True), default=False))
        .order_by("comparison_id", "pk")
        .values_list(*VOTE, *COMPARISON.values())
        .iterator(chunk_size=READ_AT_ONCE)
    )
    for _, group in groupby(rows, key=itemgetter(len(VOTE))):
        same = list(group)
        votes = [_vote(*row[1 : len(VOTE)]) for row in same if row[0]]
        yield dict(zip(COMPARISON, same[0][len(VOTE) :], strict=True)), votes


def _vote(pk: int, annotator_id: int, outcome: str, strength: int, grades: int, edited_text: str) -> Vote:
    return Vote(pk, annotator_id, Outcome(outcome), strength, Grades(grades), edited_text)


def _read_settlements(project: Project) -> dict[int, Decision]:
    """By comparison. They are made by hand, so there are few."""
    return {decision.comparison_id: decision for decision in Decision.objects.settlements().filter(comparison__project=project)}


def _judge_comparison(
    row: dict[str, Any], votes: list[Vote], rule: Rule, settlement: Decision | None, *, waits: bool, least_grade: int
) -> Made:
    if settlement is None and len(votes) < row["required"] and waits:
        return NoTriple.INCOMPLETE
    made = settled(settlement, votes) if settlement else rule(votes)
    if isinstance(made, NoTriple):
        return made
    if _is_identical(row):
        return NoTriple.IDENTICAL
    return [verdict for verdict in made if verdict.rank >= least_grade] or NoTriple.WEAK


def _is_identical(row: dict[str, Any]) -> bool:
    return row["first"].strip() == row["second"].strip()


def _both_bad(row: dict[str, Any], votes: list[Vote]) -> Iterator[Single]:
    said_so = tuple(vote.judgement_id for vote in votes if vote.outcome == Outcome.BOTH_BAD)
    for side in ("first", "second"):
        cut = row[f"{side}_finish"] == FinishReason.LENGTH
        yield Single(row["messages"], row[side], False, Split(row["split"]), cut, judgement_ids=said_so)


def _triples(row: dict[str, Any], verdict: Verdict, settlement: Decision | None) -> Iterator[Triple]:
    """(chosen, rejected); and of each edit by somebody who chose the winner, (edited, chosen) and (edited, rejected), as
    Llama 3 was taught (arXiv:2407.21783, section 4.2.1). An edit beats the answer it improves by the weakest grade."""
    triple = _triple(row, verdict, settlement)
    yield triple
    for vote in verdict.votes:
        text = vote.edited_text.strip()
        if not text or vote.outcome != verdict.winner or text in (triple.chosen.strip(), triple.rejected.strip()):
            continue
        own = replace(
            triple,
            chosen=vote.edited_text,
            chosen_version_id=None,
            chosen_truncated=False,
            judgement_ids=(vote.judgement_id,),
            edited=True,
        )
        yield replace(
            own,
            strength=1.0,
            rejected=triple.chosen,
            rejected_version_id=triple.chosen_version_id,
            rejected_truncated=triple.chosen_truncated,
        )
        yield replace(own, strength=float(vote.strength))


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


def _tie(row: dict[str, Any], votes: list[Vote], settlement: Decision | None) -> Triple:
    """Rests on the judgements that a verdict rests on: all of them, or those that say what the manager settled."""
    said_so = tuple(vote for vote in votes if vote.outcome == Outcome.TIE or not settlement)
    return replace(_triple(row, Verdict(Outcome.FIRST, 0.0, 1.0, said_so), settlement), tie=True)


def _count_withdrawn(project: Project, chosen: Chosen) -> int:
    """Comparisons that were judged once, of which no judgement stands, and which nobody has settled."""
    judgements = Judgement.objects.for_training().filter(chosen.pairs, chosen.votes, by_voters(), comparison=OuterRef("pk"))
    settlements = Decision.objects.settlements().filter(comparison=OuterRef("pk"))
    comparisons = project.comparisons.filter(purpose=Purpose.TRAIN)
    return comparisons.filter(Exists(judgements), ~Exists(judgements.standing()), ~Exists(settlements)).count()
