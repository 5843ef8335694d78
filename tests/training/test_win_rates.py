"""The statistics of evaluations, each against cases made by hand and a second implementation."""

import math
import random
import statistics

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.linear_model import LogisticRegression

from training.evaluations.length_control import RIDGE, fit, length_controlled, scale
from training.evaluations.sequential import ALPHA, EVERYTHING, SHARES, bounds, bounds_over_time, evidence
from training.evaluations.win_rates import bootstrap, win_rate

MIXED = [1.0, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.5, 2 / 3, 1.0] * 6

# -- win rate ----------------------------------------------------------------------------------------------


def test_ties_count_half() -> None:
    assert win_rate([1.0, 0.5, 0.0, 1.0])[0] == 0.625


def test_the_bootstrap_interval_is_that_of_a_mean() -> None:
    """Of 400 fair coins: about 0.5 ± 1.96 · 0.5 / 20."""
    low, high = bootstrap([0.0, 1.0] * 200)
    assert low == pytest.approx(0.451, abs=0.01) and high == pytest.approx(0.549, abs=0.01)
    assert bootstrap([0.7] * 5) == (pytest.approx(0.7), pytest.approx(0.7))


def test_the_bootstrap_agrees_with_scipys() -> None:
    theirs = scipy_bootstrap((MIXED,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert bootstrap(MIXED, draws=5000) == (pytest.approx(theirs.low, abs=0.01), pytest.approx(theirs.high, abs=0.01))


def test_without_values_there_is_no_interval() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        bootstrap([])


# -- length control ----------------------------------------------------------------------------------------


def test_answers_of_equal_length_are_controlled_for_nothing() -> None:
    """Three wins in four: σ(θ) = ¾ but for the ridge."""
    found = length_controlled([1.0, 1.0, 1.0, 0.0] * 25, [0.0] * 100)
    assert found.value == pytest.approx(0.75, abs=1e-3) and found.slope == 0 and found.low < 0.75 < found.high


def test_who_wins_by_length_alone_wins_half_under_control() -> None:
    """Longer answers win four times in five, shorter ones once; the candidate is longer in two prompts of three."""
    outcomes = ([1.0] * 4 + [0.0]) * 20 + ([0.0] * 4 + [1.0]) * 10
    differences = [300.0] * 100 + [-300.0] * 50
    found = length_controlled(outcomes, differences)
    assert statistics.fmean(outcomes) == pytest.approx(0.6)
    assert found.value == pytest.approx(0.5, abs=0.01) and found.slope > 1 and found.low < 0.5 < found.high


def test_trading_places_mirrors_it() -> None:
    differences = [random.Random(1).gauss(40, 200) for _ in MIXED]
    mine = length_controlled(MIXED, differences)
    theirs = length_controlled([1 - each for each in MIXED], [-each for each in differences])
    assert theirs.value == pytest.approx(1 - mine.value) and theirs.slope == pytest.approx(mine.slope)


def test_the_fit_agrees_with_scikit_learn_and_with_plain_minimisation() -> None:
    chance = random.Random(2)
    scaled = scale([chance.gauss(30, 100) for _ in MIXED])
    ours = fit(MIXED, scaled)
    rows = np.column_stack([np.ones(len(scaled)), scaled])
    wins_and_losses = np.vstack([rows, rows]), np.r_[np.ones(len(rows)), np.zeros(len(rows))]
    weights = np.r_[MIXED, 1 - np.array(MIXED)]
    model = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-10, max_iter=1000).fit(*wins_and_losses, weights)
    assert ours == pytest.approx(tuple(model.coef_[0]), abs=1e-5)

    def loss(both: np.ndarray) -> float:
        logits = rows @ both
        return float(np.sum(np.log1p(np.exp(logits)) - np.array(MIXED) * logits) + RIDGE / 2 * both @ both)

    assert ours == pytest.approx(tuple(minimize(loss, [0.0, 0.0], tol=1e-10).x), abs=1e-4)


@pytest.mark.parametrize("outcomes", [[1.0] * 30, [0.0] * 30, [1.0] * 15 + [0.0] * 15], ids=["all", "none", "by length"])
def test_complete_separation_has_an_end(outcomes) -> None:
    found = length_controlled(outcomes, [50.0] * 15 + [-50.0] * 15)
    assert 0 <= found.low <= found.value <= found.high <= 1 and math.isfinite(found.slope)


# -- stopping at any time ----------------------------------------------------------------------------------


def test_three_wins_by_hand() -> None:
    assert evidence([1.0, 1.0, 1.0], 0.5, more=True) == pytest.approx(statistics.fmean((1 + c) ** 3 for c in SHARES))
    assert evidence([1.0, 0.5], 0.5, more=True) == pytest.approx(statistics.fmean(1 + c for c in SHARES))
    assert evidence([0.0], 0.5, more=False) == pytest.approx(evidence([1.0], 0.5, more=True))
    assert bounds([]) == EVERYTHING


def slow_capital(outcomes: list[float], mean: float) -> float:
    up = down = 0.0
    for c in SHARES:
        rich = poor = 1.0
        for x in outcomes:
            rich *= 1 - c + c * x / mean
            poor *= 1 - c + c * (1 - x) / (1 - mean)
        up, down = up + rich / len(SHARES), down + poor / len(SHARES)
    return (up + down) / 2


@pytest.mark.parametrize("count", [1, 7, 60])
def test_the_interval_is_where_a_slow_loop_says_that_nobody_got_rich(count) -> None:
    found = bounds(MIXED[:count])
    for mean in np.linspace(0.01, 0.99, 99):
        if min(abs(mean - found.low), abs(mean - found.high)) > 0.006:  # it is rounded outwards
            assert found.holds(mean) == (slow_capital(MIXED[:count], mean) < 1 / ALPHA), mean


def test_the_path_ends_where_the_whole_does_and_takes_no_order() -> None:
    path = bounds_over_time(MIXED)
    assert len(path) == len(MIXED) and path[-1] == bounds(MIXED) == bounds(sorted(MIXED))
    assert bounds_over_time(MIXED, after=[10, 60]) == [path[9], path[59]]
    mirrored = bounds([1 - each for each in MIXED])
    assert (mirrored.low, mirrored.high) == (pytest.approx(1 - path[-1].high), pytest.approx(1 - path[-1].low))


@pytest.mark.parametrize(("wins", "ties"), [(0.5, 0.0), (0.3, 0.4), (0.7, 0.0)])
def test_false_alarms_stay_below_alpha_though_one_looks_after_each_judgement(wins, ties) -> None:
    """600 evaluations of 150 prompts each; an interval that once leaves the truth out is a false alarm."""
    truth, chance = wins + ties / 2, random.Random(7)
    alarms = fixed = 0
    for _ in range(600):
        drawn = [chance.random() for _ in range(150)]
        outcomes = [1.0 if each < wins else 0.5 if each < wins + ties else 0.0 for each in drawn]
        logs = {
            sign: np.log(1 - SHARES + SHARES * np.array([x if sign else 1 - x for x in outcomes])[:, None] / fair)
            for sign, fair in ((True, truth), (False, 1 - truth))
        }
        capital = sum(np.exp(np.cumsum(each, axis=0)).mean(1) for each in logs.values()) / 2
        alarms += bool((capital >= 1 / ALPHA).any())
        means = np.cumsum(outcomes)[29:] / np.arange(30, 151)
        spread = np.sqrt(wins + ties / 4 - truth**2) / np.sqrt(np.arange(30, 151))
        fixed += bool((np.abs(means - truth) > 1.96 * spread).any())
    assert alarms / 600 <= ALPHA + 1.64 * math.sqrt(ALPHA * (1 - ALPHA) / 600)
    assert fixed / 600 > 3 * ALPHA  # what looking at an ordinary interval again and again would have given


def test_the_simulated_capital_is_what_the_interval_uses() -> None:
    outcomes = MIXED[:40]
    for mean in (0.4, 0.5, 0.9):
        logs = np.log(1 - SHARES + SHARES * np.array(outcomes)[:, None] / mean)
        assert evidence(outcomes, mean, more=True) == pytest.approx(float(np.exp(logs.sum(0)).mean()))


def test_a_plain_difference_is_found_before_the_end() -> None:
    chance = random.Random(3)
    found = 0
    for _ in range(50):
        outcomes = [float(chance.random() < 0.75) for _ in range(150)]
        found += any(each.low > 0.5 for each in bounds_over_time(outcomes, after=range(10, 151, 10)))
    assert found >= 45
