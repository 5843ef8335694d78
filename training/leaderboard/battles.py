"""Battles: judgements of two answers to one prompt by different authors. An author is a version of the project or an imported
model; the best of several answers of a version is an author of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import F, Q

from annotate.models import Project
from annotate.models.comparison import Purpose
from annotate.models.judgement import Outcome
from training.evaluations.votes import votes

READ_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Author:
    version_id: int | None = None
    model_name: str = ""  # of an imported one
    best_of: int = 1


@dataclass(frozen=True, slots=True)
class Battle:
    prompt_id: int
    first: Author
    second: Author
    value: float  # 1: the first won, 0: the second, ½: a tie or both bad


VALUES = {Outcome.FIRST: 1.0, Outcome.SECOND: 0.0, Outcome.TIE: 0.5, Outcome.BOTH_BAD: 0.5}
UNKNOWN = Q(comparison__first__version=None, comparison__first__model_name="") | Q(
    comparison__second__version=None, comparison__second__model_name=""
)


def standing_judgements(project: Project):
    """Those that can be battles: of people's choosing, so not of pairs with a known answer."""
    return votes(project).exclude(comparison__purpose=Purpose.GOLD)


def read_battles(project: Project) -> Iterator[Battle]:
    """One streamed query, ordered by prompt. Two answers of one author are no battle."""
    sides = [f"comparison__{side}__{name}" for side in ("first", "second") for name in ("version_id", "model_name", "best_of")]
    rows = (
        standing_judgements(project)
        .exclude(UNKNOWN)
        .order_by("comparison__prompt_id", "pk")
        .values_list(F("comparison__prompt_id"), "outcome", *sides)
    )
    for prompt_id, outcome, *authors in rows.iterator(chunk_size=READ_AT_ONCE):
        first, second = _author(*authors[:3]), _author(*authors[3:])
        if first != second:
            yield Battle(prompt_id, first, second, VALUES[Outcome(outcome)])


def _author(version_id: int | None, model_name: str, best_of: int) -> Author:
    return Author(version_id, "" if version_id else model_name, best_of)
