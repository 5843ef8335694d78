"""An interval for a win rate that one may look at after each judgement, and stop when it tells enough.

An ordinary 95 % interval holds at one moment that was chosen beforehand. Who looks again and again and stops when it looks
good is wrong far more often. A 95 % confidence sequence holds at all moments at once, so every moment is a good one to stop.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2024, arXiv:2010.09686): their
hedged capital process with "grid Kelly" bets. Somebody who doubts that the mean is m bets a share c of their capital on each
outcome x in [0, 1]. If the mean is m, no strategy makes money, so (Ville's inequality) the capital ever passes 1 / α with a
probability of α at most. Half of the capital bets on more than m, half on less, each spread over several c:

    K⁺(m) = mean over c of Π (1 − c + c · x / m)          K⁻(m) = mean over c of Π (1 − c + c · (1 − x) / (1 − m))
    interval = { m : ½ K⁺(m) + ½ K⁻(m) < 1 / α }

It asks that each outcome has the mean given those before it: prompts in random order, and whether a comparison is judged
sooner or later must not depend on who wins it. The set is an interval because K⁺ and K⁻ are log-convex in m.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEANS = np.linspace(0, 1, 401)[1:-1]  # M candidates; bounds are rounded outwards to them
SHARES = np.geomspace(0.02, 0.9, 12)  # C bets
ALPHA = 0.05


@dataclass(frozen=True)
class Bounds:
    low: float
    high: float

    def holds(self, mean: float) -> bool:
        return self.low <= mean <= self.high


EVERYTHING = Bounds(0.0, 1.0)


def bounds(outcomes: Sequence[float], *, alpha: float = ALPHA) -> Bounds:
    """After all of `outcomes`. Example: no outcome → 0 to 1."""
    return _bounds(np.unique(np.asarray(outcomes, float), return_counts=True), alpha) if len(outcomes) else EVERYTHING


def bounds_over_time(outcomes: Sequence[float], *, alpha: float = ALPHA, after: Sequence[int] = ()) -> list[Bounds]:
    """After the first, the first two, …; or only after those numbers of outcomes that `after` names."""
    values_U, places_N = np.unique(np.asarray(outcomes, float), return_inverse=True)
    counts_NU = np.cumsum(places_N[:, None] == np.arange(len(values_U)), axis=0)
    return [_bounds((values_U, counts_NU[number - 1]), alpha) for number in after or range(1, len(outcomes) + 1)]


def evidence(outcomes: Sequence[float], mean: float, *, more: bool) -> float:
    """The e-value against "the mean is at most `mean`" (with `more`) or "at least": K⁺ or K⁻. 20 corresponds to α = 0.05.

    Example: three wins against one half with a single bet c: (1 + c)³.
    """
    values = np.asarray(outcomes, float) if more else 1 - np.asarray(outcomes, float)
    fair = mean if more else 1 - mean
    return float(np.exp(np.log(1 - SHARES + SHARES * values[:, None] / fair).sum(0)).mean())


def _bounds(counted: tuple[np.ndarray, np.ndarray], alpha: float) -> Bounds:
    values_U, counts_U = counted
    up_M = _log_capital(values_U, counts_U, MEANS)
    down_M = _log_capital(1 - values_U, counts_U, 1 - MEANS)
    kept = np.flatnonzero(np.logaddexp(up_M, down_M) - np.log(2) < -np.log(alpha))
    step = MEANS[1] - MEANS[0]
    if not len(kept):  # between two candidates
        best = float(np.average(values_U, weights=counts_U))
        return Bounds(max(0.0, best - step), min(1.0, best + step))
    return Bounds(float(max(0.0, MEANS[kept[0]] - step)), float(min(1.0, MEANS[kept[-1]] + step)))


def _log_capital(values_U: np.ndarray, counts_U: np.ndarray, means_M: np.ndarray) -> np.ndarray:
    """log K⁺ at each candidate: (M,). The product does not depend on the order, so equal outcomes are counted."""
    gains_MCU = 1 - SHARES[:, None] + SHARES[:, None] * (values_U / means_M[:, None])[:, None, :]
    logs_MC = np.log(gains_MCU) @ counts_U
    return np.logaddexp.reduce(logs_MC, axis=1) - np.log(len(SHARES))
