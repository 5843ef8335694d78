"""Win rates and their intervals, from one value per prompt: 1 won, ½ tied, 0 lost, or their mean over several answers."""

from collections.abc import Sequence

import numpy as np

DRAWS = 2000


def win_rate(outcomes: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval of one value per prompt. Example: (1, ½, 0, 1) → 0.625 and its interval."""
    low, high = bootstrap(outcomes, seed=seed)
    return float(np.mean(outcomes)), low, high


def bootstrap(values: Sequence[float], *, draws: int = DRAWS, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean (Efron 1979): values are drawn again with replacement, `draws` times.

    A value stands for a prompt, so that all answers to one prompt are drawn together. Raises ValueError without values.
    """
    if not len(values):
        raise ValueError("There is nothing to draw from.")
    # Equal values are drawn together: how often each comes is multinomial, and there are few different ones.
    different_U, counts_U = np.unique(np.asarray(values, dtype=float), return_counts=True)
    drawn_DU = np.random.default_rng(seed).multinomial(len(values), counts_U / len(values), size=draws)
    means = np.sort(drawn_DU @ different_U / len(values))
    tail = (1 - level) / 2
    return float(means[round(tail * (draws - 1))]), float(means[round((1 - tail) * (draws - 1))])


def times_drawn(count: int, draws: int, seed: int) -> np.ndarray:
    """(draws, count): how often each of `count` things is drawn when `count` are drawn with replacement."""
    if not count:
        raise ValueError("There is nothing to draw from.")
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
