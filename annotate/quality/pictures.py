"""Pictures of figures as plain numbers: what the templates draw as SVG, without a script."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from annotate.models.scale import RANKS
from annotate.quality.figures import Share
from annotate.quality.tallies import Own

TIMES = (0, 2, 5, 10, 20, 40, 80, 160, math.inf)  # seconds: each step is about twice the one before


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    count: int
    share: float  # of everything that is drawn
    height: float  # 0 to 100, the highest bar being 100
    kind: str = ""  # a class: "a", "b", "fast"
    shows_label: bool = True

    @property
    def top(self) -> float:
        return 100 - self.height


def bars(counts: Sequence[tuple[str, int]], kinds: Sequence[str] = (), label_every: int = 1) -> list[Bar]:
    highest, total = max((count for _, count in counts), default=0) or 1, sum(count for _, count in counts) or 1
    kinds = kinds or [""] * len(counts)
    last = len(counts) - 1
    return [
        Bar(label, count, count / total, round(100 * count / highest, 2), kind, (last - number) % label_every == 0)
        for number, ((label, count), kind) in enumerate(zip(counts, kinds, strict=True))
    ]


def times(bins: Mapping[int, int]) -> list[tuple[str, int]]:
    """How many judgements took how long, of seconds counted in tenths: [("under 2 s", 3), ("2–5 s", 10), …]."""
    return [
        (_step(low, high), sum(number for tenths, number in bins.items() if 10 * low <= tenths < 10 * high))
        for low, high in pairwise(TIMES)
    ]


def _step(low: float, high: float) -> str:
    if not low:
        return f"under {high} s"
    return f"{low} s or more" if high == math.inf else f"{low}–{high} s"


def positions(own: Own) -> list[tuple[str, str, int]]:
    """(label, side, count) of the answers as they stood on the screen, from A to B: without a lean it is symmetric."""
    ranks = sorted({int(answer[1:]) for answer in own.screen})
    words = {rank: words for words, rank in RANKS.items()}
    neither = [("Tie", "neither", own.outcomes["tie"]), ("Both bad", "neither", own.outcomes["both_bad"])]
    left = [(f"A {words[rank]}", "a", own.screen[f"a{rank}"]) for rank in reversed(ranks)]
    return left + neither + [(f"B {words[rank]}", "b", own.screen[f"b{rank}"]) for rank in ranks]


@dataclass(frozen=True, slots=True)
class Range:
    """A share and its interval on a line from 0 to 100."""

    low: float
    high: float
    at: float

    @property
    def width(self) -> float:
        return round(self.high - self.low, 2)


def range_of(share: Share) -> Range | None:
    if not share.of:
        return None
    low, high = share.range
    return Range(round(100 * low, 2), round(100 * high, 2), round(100 * share.value, 2))
