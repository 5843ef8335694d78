"""The answers of a scale as parts of the line on which known answers lie (`GoldAnswer`)."""

from dataclasses import dataclass

from annotate.models.scale import Grades


@dataclass(frozen=True, slots=True)
class Place:
    """One answer of the project's scale, and the part of the line that it stands for."""

    key: str
    label: str
    low: int
    high: int


def places_of(grades: Grades) -> list[Place]:
    """From A (the first completion) significantly better to B."""
    strengths = range(grades.strengths, 0, -1)
    covered = {strength: grades.covers(strength) for strength in strengths}
    best = [Place(f"a{n}", f"A {grades.words(n)}", covered[n][0], covered[n][-1]) for n in strengths]
    worst = [Place(f"b{n}", f"B {grades.words(n)}", -covered[n][-1], -covered[n][0]) for n in reversed(strengths)]
    return [*best, Place("tie", "Tie", 0, 0), *worst]


def place_at(places: list[Place], at: int | None) -> str:
    return next((place.key for place in places if at is not None and place.low <= at <= place.high), "")
