"""The leaderboard of a project: every version and every imported model, by all that was judged. Counted by a worker."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from django.db.models import Max

from annotate.models import GoldAnswer, Project
from annotate.quality.intervals import wilson
from annotate.quality.reliability import mark_of
from training.leaderboard.battles import UNKNOWN, Author, Battle, read_battles, standing_judgements
from training.leaderboard.ratings import DRAWS, Table, ranks_of, ratings_of
from training.models import Leaderboard


@dataclass(frozen=True)
class Row:
    rank: int
    name: str
    version: int | None  # its number in the project; None for an imported model
    rating: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int

    @property
    def battles(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def win_rate(self) -> float:
        """Counted, with ties as half: against whomever it met."""
        return (self.wins + self.ties / 2) / self.battles

    @property
    def win_range(self) -> tuple[float, float]:
        return wilson(self.win_rate, self.battles)


def fingerprint(project: Project) -> str:
    """Changes whenever a judgement comes, goes or is taken back, or what is gold changes. A few short queries."""
    gold = GoldAnswer.objects.filter(comparison__project=project).aggregate(at=Max("marked_at"))["at"]
    return f"{mark_of(project)}/{gold and gold.timestamp()}"


def is_due(project: Project) -> bool:
    seen = Leaderboard.objects.filter(project=project).values_list("seen", flat=True).first()
    if seen is None:
        return standing_judgements(project).exists()
    return seen != fingerprint(project)


def count_leaderboard(*, project: Project, draws: int = DRAWS) -> Leaderboard:
    """Reads every battle and fits the ratings, with intervals from `draws` resamplings; the stored one if it is up to date."""
    stored = Leaderboard.objects.filter(project=project).first()
    seen = fingerprint(project)
    if stored and stored.seen == seen:
        return stored
    began = time.perf_counter()
    rows, battles, prompts = rank(read_battles(project), _names(project), draws=draws)
    leaderboard, _ = Leaderboard.objects.update_or_create(
        project=project,
        defaults={
            "seen": seen,
            "battles": battles,
            "prompts": prompts,
            "unknown": standing_judgements(project).filter(UNKNOWN).count(),
            "rows": [asdict(row) for row in rows],
            "seconds": round(time.perf_counter() - began, 3),
        },
    )
    return leaderboard


def rows_of(leaderboard: Leaderboard) -> list[Row]:
    return [Row(**row) for row in leaderboard.rows]


def rank(battles: Iterable[Battle], names: dict[int, tuple[str, int]], *, draws: int = DRAWS) -> tuple[list[Row], int, int]:
    """Best first; how many battles and prompts there were. `names`: of each version's id its name and number."""
    authors: dict[Author, int] = {}
    prompts: dict[int, int] = {}
    columns: list[tuple[int, int, float, int]] = []
    for battle in battles:
        first, second = (authors.setdefault(each, len(authors)) for each in (battle.first, battle.second))
        columns.append((first, second, battle.value, prompts.setdefault(battle.prompt_id, len(prompts))))
    if not columns:
        return [], 0, 0
    first_B, second_B, value_B, prompt_B = (np.array(column) for column in zip(*columns, strict=True))
    table = Table(first_B, second_B, value_B, prompt_B, len(authors), len(prompts))
    ratings = ratings_of(table, draws=draws)
    counted = _counted(table)
    rows = [
        Row(rank=place, **_called(author, names), rating=_short(rating.value), low=_short(rating.low), high=_short(rating.high),
            wins=counted[number, 1.0], ties=counted[number, 0.5], losses=counted[number, 0.0])
        for (author, number), rating, place in zip(authors.items(), ratings, ranks_of(ratings), strict=True)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.rating, row.name)), len(columns), len(prompts)


def _counted(table: Table) -> Counter[tuple[int, float]]:
    """How often each author won (1), tied (½) and lost (0)."""
    found: Counter[tuple[int, float]] = Counter()
    for first, second, value in zip(table.first_B.tolist(), table.second_B.tolist(), table.value_B.tolist(), strict=True):
        found[first, value] += 1
        found[second, 1 - value] += 1
    return found


def _called(author: Author, names: dict[int, tuple[str, int]]) -> dict[str, Any]:
    if author.version_id is None:
        return {"name": author.model_name, "version": None}
    name, number = names[author.version_id]
    return {"name": f"{name}, best of {author.best_of}" if author.best_of > 1 else name, "version": number}


def _names(project: Project) -> dict[int, tuple[str, int]]:
    return {pk: (name, number) for pk, name, number in project.versions.values_list("pk", "name", "number")}


def _short(rating: float) -> float:
    """JSON has no infinity: ±9999 says that nothing is known."""
    return round(float(np.clip(rating, -9999, 9999)), 2)
