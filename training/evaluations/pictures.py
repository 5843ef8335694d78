"""Pictures of win rates as plain numbers: what the templates draw as SVG, without a script. All run from 0 to 100."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluations.sequential import bounds_over_time
from training.evaluations.standings import Standing
from training.models import Evaluation

MOST_POINTS = 60


@dataclass(frozen=True)
class WinShare:
    """A win rate with its interval on a line, and the bar it has to pass."""

    at: float
    low: float
    high: float
    bar: float

    @property
    def width(self) -> float:
        return round(self.high - self.low, 2)

    @property
    def in_words(self) -> str:
        return f"{self.at:.0f} % ({self.low:.0f} to {self.high:.0f} %)"


@dataclass(frozen=True)
class Path:
    """The win rate after each prompt with the interval that holds at any time, from left to right."""

    line: str  # SVG path data
    band: str
    bar: float  # from the top
    counts: tuple[int, ...]  # below: prompts
    in_words: str


def share_of(evaluation: Evaluation) -> WinShare | None:
    """From the figures that were stored last; None before anything counts."""
    return share_in(evaluation.figures, evaluation.bar)


def share_in(figures: dict[str, Any], bar: float) -> WinShare | None:
    if figures.get("rate") is None:
        return None
    at, low, high = (round(100 * figures[key], 2) for key in ("rate", "always_low", "always_high"))
    return WinShare(at, low, high, round(100 * bar, 2))


def path_of(standing: Standing, bar: float) -> Path | None:
    """None before anything counts. Its width is all prompts of the evaluation, so that one sees how much is left."""
    outcomes = standing.outcomes
    if not outcomes:
        return None
    all_prompts = max(len(outcomes), len(outcomes) + standing.waiting)
    after = _thinned(len(outcomes))
    total, rates = 0.0, {}
    for number, outcome in enumerate(outcomes, start=1):
        total += outcome
        rates[number] = total / number
    intervals = bounds_over_time(outcomes, after=after)
    across = [round(100 * number / all_prompts, 2) for number in after]
    upper = [(x, _down(each.high)) for x, each in zip(across, intervals, strict=True)]
    lower = [(x, _down(each.low)) for x, each in zip(across, intervals, strict=True)]
    last = intervals[-1]
    return Path(
        line=_data([(x, _down(rates[number])) for x, number in zip(across, after, strict=True)]),
        band=_data([(0, 0), *upper, *reversed(lower), (0, 100)]) + "Z",
        bar=_down(bar),
        counts=(0, round(all_prompts / 2), all_prompts) if all_prompts > 1 else (0, 1),
        in_words=f"Win rate after {len(outcomes)} of {all_prompts} prompts: {100 * rates[len(outcomes)]:.0f} %, "
        f"between {100 * last.low:.0f} and {100 * last.high:.0f} %",
    )


def _thinned(count: int) -> Sequence[int]:
    step = max(1, count // MOST_POINTS)
    return sorted({1, *range(step, count + 1, step), count})


def _down(share: float) -> float:
    return round(100 - 100 * share, 2)


def _data(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x} {y}" for x, y in points)
