"""Comparisons in dispute as a manager sees them: the queue of them, and one with everything that was said about it."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from django.db.models import Prefetch, QuerySet

from annotate.judging.offer import outcome_in_words
from annotate.models import Comparison, Decision, Dispute, Judgement, Project
from annotate.models.judgement import Outcome
from annotate.models.review import DecisionKind, Reason
from annotate.models.scale import Grades
from annotate.review.decisions import in_words, reviewable

PAGE = 25
COUNTED = 1000  # beyond it, “more than”: counting stays cheap
SHOWN_DECISIONS = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One judgement, with the stored first answer as A."""

    judgement: Judgement
    words: str
    side: str  # "a", "b", or "" for neither
    state: str  # "counts", "over-ruled", "withdrawn", "taken back"
    withdrawal: Decision | None  # by a manager

    @property
    def who(self) -> str:
        return self.judgement.annotator.get_full_name()

    @property
    def stood_left(self) -> str:
        return "B" if self.judgement.assignment.swapped else "A"


@dataclass(frozen=True)
class Case:
    """A comparison with all its judgements, the withdrawn ones too, and all decisions, newest first."""

    comparison: Comparison
    dispute: Dispute | None
    entries: list[Entry]
    decisions: list[tuple[Decision, str]]
    left: int | None  # judgements it still waits for

    @cached_property
    def settlement(self) -> Decision | None:
        settled = (decision for decision, _ in self.decisions if decision.kind == DecisionKind.SETTLED)
        return next((decision for decision in settled if not decision.taken_back_at), None)

    @property
    def seen(self) -> int:
        return max((decision.pk for decision, _ in self.decisions), default=0)

    @property
    def is_waiting(self) -> bool:
        return bool(self.dispute and not self.dispute.handled_at)


def open_case(*, project: Project, comparison_id: int) -> Case | None:
    """None if the project has no such comparison, or nobody has judged it. Four queries."""
    comparison = reviewable(project).select_related("prompt", "first", "second", "dispute").filter(pk=comparison_id).first()
    if comparison is None:
        return None
    decisions = list(comparison.decisions.select_related("by", "taken_back_by", "judgement").order_by("-pk"))
    judgements = comparison.judgements.select_related("annotator", "assignment").order_by("pk")
    settlement = next((each for each in decisions if each.kind == DecisionKind.SETTLED and not each.taken_back_at), None)
    withdrawals = {each.judgement_id: each for each in decisions if each.judgement_id and not each.taken_back_at}
    entries = [_entry(judgement, settlement, withdrawals.get(judgement.pk)) for judgement in judgements]
    standing = sum(entry.judgement.withdrawn_at is None for entry in entries)
    return Case(
        comparison=comparison,
        dispute=getattr(comparison, "dispute", None),
        entries=entries,
        decisions=[(decision, in_words(decision)) for decision in decisions],
        left=max(0, comparison.judgements_required - standing) if not settlement else 0,
    )


def _entry(judgement: Judgement, settlement: Decision | None, withdrawal: Decision | None) -> Entry:
    outcome = Outcome(judgement.outcome)
    if judgement.withdrawn_at:
        state = "withdrawn" if withdrawal else "taken back"
    else:
        state = "over-ruled" if settlement and settlement.outcome != outcome else "counts"
    words = outcome_in_words(outcome, judgement.strength, Grades(judgement.assignment.grades))
    side = {Outcome.FIRST: "a", Outcome.SECOND: "b"}.get(outcome, "")
    return Entry(judgement, words, side, state, withdrawal)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the queue: what people said in short, most frequent first."""

    dispute: Dispute
    said: list[tuple[str, str, int]]  # (words, side, how many)

    @property
    def prompt(self) -> str:
        return self.dispute.comparison.prompt.last_message[:300]


@dataclass(frozen=True, slots=True)
class WaitingPage:
    rows: list[Waiting]
    following: int | None  # the comparison after which the next page begins


def list_waiting(*, project: Project, reason: str = "", after: int = 0) -> WaitingPage:
    """The oldest comparisons first. Two queries, whatever there is."""
    found = Dispute.objects.waiting(reason).filter(project=project, pk__gt=after).order_by("pk")
    disputes = list(found.select_related("comparison__prompt")[: PAGE + 1])
    shown = disputes[:PAGE]
    said: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    judgements = Judgement.objects.standing().for_training().filter(comparison__in=[dispute.pk for dispute in shown])
    for pk, outcome, strength, grades in judgements.values_list("comparison_id", "outcome", "strength", "assignment__grades"):
        side = {Outcome.FIRST: "a", Outcome.SECOND: "b"}.get(Outcome(outcome), "")
        said[pk].append((outcome_in_words(Outcome(outcome), strength, Grades(grades)), side))
    rows = [Waiting(dispute, _counted(said[dispute.pk])) for dispute in shown]
    return WaitingPage(rows, shown[-1].pk if len(disputes) > PAGE else None)


def _counted(said: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    counts = [(*words, len(list(same))) for words, same in groupby(sorted(said))]
    return sorted(counts, key=lambda each: -each[2])


def count_waiting(project: Project) -> dict[str, int]:
    """By reason, and in all under "": at most COUNTED + 1 each, so that a large queue costs no more than a small one."""
    own = {"project": project}
    return {reason: Dispute.objects.waiting(reason).filter(**own)[: COUNTED + 1].count() for reason in ("", *Reason.values)}


def next_waiting(*, project: Project, reason: str = "", after: int = 0) -> int | None:
    """The comparison to look at after this one; from the last, the first again."""
    waiting = Dispute.objects.waiting(reason).filter(project=project).exclude(pk=after).order_by("pk")
    return waiting.filter(pk__gt=after).values_list("pk", flat=True).first() or waiting.values_list("pk", flat=True).first()


def all_decisions(project: Project) -> QuerySet[Decision]:
    """Of all kinds, those that were taken back too."""
    return Decision.objects.select_related("by", "taken_back_by", "judgement__annotator").filter(comparison__project=project)


def list_decisions(project: Project) -> QuerySet[Decision]:
    """The newest, with their comparisons' prompts."""
    prompts = Prefetch("comparison", Comparison.objects.select_related("prompt"))
    return all_decisions(project).prefetch_related(prompts).order_by("-pk")[:SHOWN_DECISIONS]
