"""How far people agree: Krippendorff's alpha, pair by pair, and each person against the others.

Pure functions of ratings. The formulas are those of K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011);
the tests hold them to its worked example and to the `krippendorff` package (whose licence, the GPL, keeps it out of the
product itself).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal

Level = Literal["nominal", "ordinal"]


def alpha(units: Iterable[Sequence[int]], *, level: Level) -> float | None:
    """Krippendorff's alpha of the ratings that each unit got, whoever gave them: 1 is perfect, 0 is what chance gives.

    None when it is not defined: no unit has two ratings, or all ratings are the same value.

        alpha([(1, 1), (2, 2), (1, 2)], level="nominal")  →  4/9
    """
    return alpha_of(Counter(tuple(sorted(ratings)) for ratings in units if len(ratings) > 1), level=level)


def alpha_of(patterns: Mapping[tuple[int, ...], int], *, level: Level) -> float | None:
    """The same, of how many units got which ratings (each two or more, sorted)."""
    values = sorted({value for pattern in patterns for value in pattern})
    if len(values) < 2:
        return None
    coincidences: defaultdict[tuple[int, int], float] = defaultdict(float)
    for pattern, count in patterns.items():
        found = Counter(pattern)
        for one in found:
            for other in found:
                pairs = found[one] * (found[other] - (one == other))
                coincidences[one, other] += count * pairs / (len(pattern) - 1)
    totals = {value: sum(coincidences[value, other] for other in values) for value in values}
    distance = _nominal if level == "nominal" else _ordinal
    apart = {(one, other): distance(one, other, totals) for one, other in combinations(values, 2)}
    observed = sum(coincidences[pair] * squared for pair, squared in apart.items())
    expected = sum(totals[one] * totals[other] * squared for (one, other), squared in apart.items())
    return 1 - (sum(totals.values()) - 1) * observed / expected


def _nominal(one: int, other: int, totals: Mapping[int, float]) -> float:
    return 1.0


def _ordinal(one: int, other: int, totals: Mapping[int, float]) -> float:
    """The square of how many ratings lie between the two values, half of each value's own included. `one` < `other`."""
    between = sum(count for value, count in totals.items() if one <= value <= other)
    return (between - (totals[one] + totals[other]) / 2) ** 2


def in_words(alpha: float | None) -> str:
    """Krippendorff's own limits (Content Analysis, 2004, p. 241)."""
    if alpha is None:
        return ""
    if alpha >= 0.8:
        return "reliable"
    if alpha >= 0.667:
        return "enough for tentative conclusions"
    return "below the 0.667 asked of tentative conclusions" if alpha > 0 else "no better than chance"


def pairwise(units: Iterable[Mapping[Hashable, Hashable]]) -> dict[tuple[Hashable, Hashable], tuple[int, int]]:
    """(same answers, units both have rated) of each two raters who share a unit; both orders of the two are in it."""
    same: Counter = Counter()
    shared: Counter = Counter()
    for ratings in units:
        for one, other in combinations(ratings, 2):
            for pair in ((one, other), (other, one)):
                shared[pair] += 1
                same[pair] += ratings[one] == ratings[other]
    return {pair: (same[pair], number) for pair, number in shared.items()}


def against_the_others(units: Iterable[Mapping[Hashable, Hashable]]) -> dict[Hashable, tuple[int, int]]:
    """(agreements, units) of each rater with what more than half of the *other* raters of a unit say.

    A person's own answer is left out of what it is held against; else, of two, each would agree with themselves. Units
    whose others are divided count for nobody.
    """
    agreed: Counter = Counter()
    compared: Counter = Counter()
    for ratings in units:
        given: dict[Hashable, int] = {}
        for rating in ratings.values():
            given[rating] = given.get(rating, 0) + 1
        others = len(ratings) - 1
        for rater, rating in ratings.items():
            said = next((value for value, number in given.items() if 2 * (number - (value == rating)) > others), None)
            if said is not None:
                compared[rater] += 1
                agreed[rater] += said == rating
    return {rater: (agreed[rater], number) for rater, number in compared.items()}
