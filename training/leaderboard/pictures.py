"""The leaderboard as a picture: each rating with its interval on one scale, as plain numbers for an SVG from 0 to 100."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.leaderboard.counting import Row

STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000)
MOST_TICKS = 6


@dataclass(frozen=True)
class Tick:
    rating: int
    at: float


@dataclass(frozen=True)
class Bar:
    row: Row
    at: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return round(max(self.high - self.low, 0.4), 2)


@dataclass(frozen=True)
class Picture:
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def picture_of(rows: Sequence[Row]) -> Picture:
    """The scale begins and ends at a round number. Intervals that are not known end at its ends."""
    known = [value for row in rows for value in (row.low, row.high, row.rating) if abs(value) < 9000]
    least, most = min(known), max(known)
    step = next((step for step in STEPS if (most - least) / step <= MOST_TICKS), STEPS[-1])
    begin, end = step * (int(least // step)), step * (int(-(-most // step)))
    end = max(end, begin + step)

    def place(rating: float) -> float:
        return round(100 * (min(max(rating, begin), end) - begin) / (end - begin), 2)

    bars = tuple(Bar(row, place(row.rating), place(row.low), place(row.high)) for row in rows)
    return Picture(bars, tuple(Tick(rating, place(rating)) for rating in range(begin, end + 1, step)))
