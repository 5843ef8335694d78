"""Length-controlled win rate: what a version would win if its answers were as long as the other's.

Dubois, Galambosi, Liang and Hashimoto, "Length-Controlled AlpacaEval" (arXiv:2404.04475), equation 2, without the term for
the difficulty of an instruction, which takes many models to learn: a logistic regression of who wins on the difference in
length, read off at difference 0.

    P(candidate wins) = σ(θ + φ · tanh(Δ / s)),     Δ = its length − the other's, s = the standard deviation of Δ
    win rate under control = σ(θ)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluations.win_rates import times_drawn

RIDGE = 0.01  # ½ · RIDGE · (θ² + φ²) is added to the loss: where one side wins everything, the maximum is else at infinity
DRAWS = 300
MOST_STEPS, LONGEST_STEP, CONVERGED = 50, 2.0, 1e-9


@dataclass(frozen=True)
class LengthControlled:
    value: float  # σ(θ)
    low: float  # 95 %, bootstrap over prompts
    high: float
    slope: float  # φ: above 0, longer answers win; log-odds between answers about as long and the other much shorter


def length_controlled(
    outcomes: Sequence[float], differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0
) -> LengthControlled:
    """`outcomes`: one value in [0, 1] for each prompt; `differences`: candidate's length minus the other's, in characters."""
    scaled = scale(differences)
    theta, phi = fit(outcomes, scaled)
    values = np.sort(_sigmoid(_fit_all(np.asarray(outcomes, float), scaled, times_drawn(len(outcomes), draws, seed))[0]))
    low, high = values[round(0.025 * (draws - 1))], values[round(0.975 * (draws - 1))]
    return LengthControlled(float(_sigmoid(theta)), float(low), float(high), phi)


def scale(differences: Sequence[float]) -> np.ndarray:
    """tanh(Δ / s), in [−1, 1]; zeros where all differences are the same."""
    array = np.asarray(differences, dtype=float)
    spread = float(array.std()) if len(array) else 0.0
    return np.tanh(array / spread) if spread else np.zeros(len(array))


def fit(outcomes: Sequence[float], scaled: Sequence[float]) -> tuple[float, float]:
    """(θ, φ) of the greatest penalised likelihood. A tie counts as half a win and half a loss."""
    weights = np.ones((1, len(outcomes)))
    theta, phi = _fit_all(np.asarray(outcomes, float), np.asarray(scaled, float), weights)
    return float(theta[0]), float(phi[0])


def _fit_all(outcomes_N: np.ndarray, scaled_N: np.ndarray, weights_DN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D,), (D,): one fit for each row of weights, by Newton's method, all at once."""
    theta, phi = np.zeros(len(weights_DN)), np.zeros(len(weights_DN))
    for _ in range(MOST_STEPS):
        odds_DN = _sigmoid(theta[:, None] + phi[:, None] * scaled_N)
        miss_DN = weights_DN * (outcomes_N - odds_DN)
        curve_DN = weights_DN * odds_DN * (1 - odds_DN)
        slope_0, slope_1 = miss_DN.sum(1) - RIDGE * theta, miss_DN @ scaled_N - RIDGE * phi
        h_00, h_01, h_11 = curve_DN.sum(1) + RIDGE, curve_DN @ scaled_N, curve_DN @ scaled_N**2 + RIDGE
        over = h_00 * h_11 - h_01**2
        step_0, step_1 = (h_11 * slope_0 - h_01 * slope_1) / over, (h_00 * slope_1 - h_01 * slope_0) / over
        cut = LONGEST_STEP / np.maximum(LONGEST_STEP, np.hypot(step_0, step_1))
        theta, phi = theta + cut * step_0, phi + cut * step_1
        if max(np.abs(step_0).max(), np.abs(step_1).max()) < CONVERGED:
            break
    return theta, phi


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x)))
