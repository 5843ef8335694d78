"""Agreement against the literature, the reference implementation, and by hand."""

import gzip
import json
import random
from pathlib import Path

import krippendorff
import numpy
import pytest

from annotate.quality.agreement import against_the_others, alpha, in_words, pairwise

BATTLES = Path(__file__).parents[3] / "shared" / "data" / "alpaca_battles.jsonl.gz"
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: 4 observers, 12 units, missing data.
OBSERVERS = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
EXAMPLE = [[int(rating) for rating in unit if rating != "."] for unit in zip(*(row.split() for row in OBSERVERS), strict=True)]


def reference(units, level: str) -> float:
    values = sorted({value for unit in units for value in unit})
    counts = numpy.array([[unit.count(value) for value in values] for unit in units])
    return float(krippendorff.alpha(value_counts=counts, value_domain=values, level_of_measurement=level))


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_of_the_worked_example(level, published):
    assert round(alpha(EXAMPLE, level=level), 3) == published
    assert alpha(EXAMPLE, level=level) == pytest.approx(reference(EXAMPLE, level), abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_the_reference_implementations(level, seed):
    rng = random.Random(seed)
    units = [[max(-4, min(4, round(rng.gauss(truth, 2)))) for _ in range(rng.randint(1, 6))] for truth in range(-4, 5)] * 5
    assert alpha(units, level=level) == pytest.approx(reference(units, level), abs=1e-12)


@pytest.mark.skipif(not BATTLES.exists(), reason="real rows that are not part of the project")
@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_of_real_battles_is_the_reference_implementations(level):
    """Each instruction is a unit, and what was said of each model's answer to it a rating."""
    units: dict[str, list[int]] = {}
    with gzip.open(BATTLES, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["preference"] is not None:
                units.setdefault(row["instruction"], []).append(round(2 * row["preference"]))
    assert len(units) > 500 and len({value for unit in units.values() for value in unit}) == 4
    assert alpha(list(units.values()), level=level) == pytest.approx(reference(list(units.values()), level), abs=1e-12)


def test_alpha_by_hand():
    # Coincidences: 1-1 twice, 2-2 twice, 1-2 and 2-1 once each. n = 6, n_1 = n_2 = 3: 1 − 5 · 1 / 9.
    assert alpha([(1, 1), (2, 2), (1, 2)], level="nominal") == pytest.approx(4 / 9)


def test_alpha_laws():
    assert alpha([(1, 1), (2, 2)], level="ordinal") == 1.0
    assert alpha([unit[::-1] for unit in EXAMPLE], level="ordinal") == alpha(EXAMPLE, level="ordinal")
    mirrored = [[-rating for rating in unit] for unit in EXAMPLE]
    assert alpha(mirrored, level="ordinal") == pytest.approx(alpha(EXAMPLE, level="ordinal"))


@pytest.mark.parametrize("units", [[], [(1,)], [(1,), (2,)], [(1, 1), (1, 1, 1)]])
def test_alpha_that_is_not_defined(units):
    assert alpha(units, level="nominal") is None
    assert in_words(None) == ""


def test_what_an_alpha_means():
    assert [in_words(value) for value in (0.8, 0.667, 0.5, -0.1)] == [
        "reliable", "enough for tentative conclusions", "below the 0.667 asked of tentative conclusions", "no better than chance",
    ]  # fmt: skip


UNITS = [
    {"anna": 1, "bob": 1, "eve": 2},  # anna and bob agree; each is divided from the others, eve is outvoted
    {"anna": 1, "bob": 2},
    {"anna": 2},  # nobody to agree with
    {"anna": 1, "bob": 1, "eve": 1},
]


def test_pairs_by_hand():
    table = pairwise(UNITS)
    assert table["anna", "bob"] == table["bob", "anna"] == (2, 3)
    assert table["anna", "eve"] == table["eve", "bob"] == (1, 2)
    assert ("anna", "anna") not in table


def test_against_the_others_by_hand():
    assert against_the_others(UNITS) == {"anna": (1, 2), "bob": (1, 2), "eve": (1, 2)}


def test_ones_own_answer_is_no_consensus():
    assert against_the_others([{"anna": 1, "bob": 2}]) == {"anna": (0, 1), "bob": (0, 1)}
