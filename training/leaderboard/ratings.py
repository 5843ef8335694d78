"""Bradley–Terry ratings of authors from battles, with bootstrap intervals over prompts, by evalica.

Bradley and Terry, "Rank analysis of incomplete block designs" (Biometrika 1952): P(i beats j) = s_i / (s_i + s_j). A tie counts
as half a win for each, as in the Chatbot Arena (Chiang et al., arXiv:2403.04132). On Elo's scale: rating = 1000 + 400 · log10 s,
so 400 points more are odds of 10 to 1; the mean of all authors is 1000.

Whoever has won or lost everything has no finite rating, and authors who never met, even at second hand, have none in common. So
each has `PRIOR` ties with an imaginary author of rating 1000.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluations.win_rates import times_drawn

PRIOR = 1.0
DRAWS = 200
AT_ONCE = 20
TOLERANCE, MOST_ITERATIONS = 1e-8, 20_000


@dataclass(frozen=True)
class Rating:
    value: float
    low: float  # 95 %, bootstrap over prompts
    high: float


@dataclass(frozen=True)
class Table:
    """B battles, of A authors on P prompts."""

    first_B: np.ndarray  # places of authors
    second_B: np.ndarray
    value_B: np.ndarray  # 1, ½ or 0 for the first
    prompt_B: np.ndarray  # places of prompts
    authors: int
    prompts: int


def ratings_of(table: Table, *, draws: int = DRAWS, seed: int = 0, prior: float = PRIOR) -> list[Rating]:
    """One for each author, in order. With fewer than two prompts the intervals are infinite."""
    cells, cell_B = _cells(table)
    fitted = fit(cells, np.bincount(cell_B, minlength=len(cells)).astype(float), table.authors, prior=prior)
    if table.prompts < 2:
        return [Rating(float(value), -np.inf, np.inf) for value in fitted]
    drawn = np.empty((draws, table.authors))
    for start in range(0, draws, AT_ONCE):
        times = times_drawn(table.prompts, min(AT_ONCE, draws - start), seed + start)
        for place, times_P in enumerate(times, start=start):
            weights = np.bincount(cell_B, weights=times_P[table.prompt_B], minlength=len(cells))
            drawn[place] = fit(cells, weights, table.authors, prior=prior)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Rating(float(v), float(a), float(b)) for v, a, b in zip(fitted, low, high, strict=True)]


def fit(cells: np.ndarray, weights: np.ndarray, authors: int, *, prior: float = PRIOR) -> np.ndarray:
    """(A,) ratings from cells (first, second, value) that were seen `weights` times."""
    import evalica
    import pandas

    winners = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    xs: list[Any] = [int(first) for first, _, _ in cells]
    ys: list[Any] = [int(second) for _, second, _ in cells]
    won = [winners[float(value)] for *_, value in cells]
    everybody = authors
    if prior:
        xs, ys = xs + list(range(authors)), ys + [authors] * authors
        won, weights = won + [evalica.Winner.Draw] * authors, np.append(weights, np.full(authors, prior))
        everybody += 1
    found = evalica.bradley_terry(
        xs, ys, won, index=pandas.RangeIndex(everybody), weights=weights, tolerance=TOLERANCE, limit=MOST_ITERATIONS
    )
    logs = np.log10(found.scores.sort_index().to_numpy()[:authors])
    return 1000 + 400 * (logs - logs.mean())


def ranks_of(ratings: Sequence[Rating]) -> list[int]:
    """1 + how many are better for sure: whose whole interval lies above. Two that cannot be told apart share a rank."""
    return [1 + sum(other.low > rating.high for other in ratings) for rating in ratings]


def _cells(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The different (first, second, value), and for each battle the place of its own."""
    rows_B3 = np.column_stack([table.first_B, table.second_B, table.value_B]).astype(float)
    cells, place_B = np.unique(rows_B3, axis=0, return_inverse=True)
    return cells, place_B.ravel()
