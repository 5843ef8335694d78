"""Tallies: what the quality of a set of judgements is told from, as counts that can be added.

A tally of some comparisons plus that of others is the tally of all of them, so figures of a million judgements are kept as
tallies of blocks and only what has changed is read again (`annotate.quality.counts`). Every figure of the quality page comes
out of one tally (`annotate.quality.figures`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from annotate.models.judgement import Outcome
from annotate.quality.agreement import against_the_others, pairwise

OUTCOMES = [outcome.value for outcome in Outcome]
FASTEST = 100.0  # characters of both answers in a second: four times what people read
LEAST_SECONDS = 1.0

Patterns = Counter[tuple[int, ...]]  # the ratings of one comparison, sorted → of how many comparisons


@dataclass(frozen=True, slots=True)
class Answer:
    """One judgement that stands, as the figures see it."""

    comparison: int
    person: int
    outcome: Outcome
    rank: int  # of the grade's words among those of all scales, 1 to 4; 0: tie, both bad
    swapped: bool
    seconds: float | None
    day: date
    characters: int
    imported: bool = False
    flags: tuple[str, ...] = ()
    gold: bool = False  # given to a known answer: no measure of whether people agree

    @property
    def position(self) -> int | None:
        """From 4, first significantly better, by 0, a tie, to −4. Both bad has no place on that line."""
        signs = {Outcome.FIRST: 1, Outcome.TIE: 0, Outcome.SECOND: -1}
        return signs[self.outcome] * self.rank if self.outcome in signs else None

    @property
    def side(self) -> str:
        """What was chosen as it stood on the screen, "a" or "b"; "" when neither was, or nobody knows what stood left."""
        if not self.rank or self.imported:
            return ""
        return "a" if (self.outcome == Outcome.FIRST) != self.swapped else "b"

    @property
    def is_too_fast(self) -> bool:
        return self.seconds is not None and self.seconds < max(LEAST_SECONDS, self.characters / FASTEST)


def bin_of(seconds: float) -> int:
    """Tenths of a second, as the page sends them; from a minute on whole seconds, from ten minutes on tens of them."""
    step = 1 if seconds < 60 else 10 if seconds < 600 else 100
    return round(seconds * 10 / step) * step


@dataclass
class Own:
    """Of one person, or of everybody."""

    outcomes: Counter[str] = field(default_factory=Counter)
    screen: Counter[str] = field(default_factory=Counter)  # "a3": the left one, by the grade of rank 3
    seconds: Counter[int] = field(default_factory=Counter)  # by `bin_of`
    days: Counter[str] = field(default_factory=Counter)  # 2026-01-31
    flags: Counter[str] = field(default_factory=Counter)
    too_fast: int = 0
    agreed: int = 0  # with what more than half of the others said
    compared: int = 0

    def add(self, other: "Own") -> None:
        for name in ("outcomes", "screen", "seconds", "days", "flags"):
            getattr(self, name).update(getattr(other, name))
        self.too_fast += other.too_fast
        self.agreed += other.agreed
        self.compared += other.compared

    def take_off(self, other: "Own") -> None:
        """What is in it: that of some of the judgements it was added from."""
        for name in ("outcomes", "screen", "seconds", "days", "flags"):
            mine = getattr(self, name)
            mine.subtract(getattr(other, name))
            setattr(self, name, +mine)  # without zeros
        self.too_fast -= other.too_fast
        self.agreed -= other.agreed
        self.compared -= other.compared

    def count(self, answer: Answer) -> None:
        self.outcomes[answer.outcome.value] += 1
        self.days[answer.day.isoformat()] += 1
        self.flags.update(answer.flags)
        if answer.side:
            self.screen[f"{answer.side}{answer.rank}"] += 1
        if answer.seconds is not None:
            self.seconds[bin_of(answer.seconds)] += 1
            self.too_fast += answer.is_too_fast

    def as_json(self) -> dict[str, Any]:
        counters = {name: dict(getattr(self, name)) for name in ("outcomes", "screen", "days", "flags")}
        seconds = [[each, number] for each, number in sorted(self.seconds.items())]
        return counters | {"seconds": seconds, "counts": [self.too_fast, self.agreed, self.compared]}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Own":
        counters = {name: Counter(kept[name]) for name in ("outcomes", "screen", "days", "flags")}
        too_fast, agreed, compared = kept["counts"]
        seconds = Counter({each: number for each, number in kept["seconds"]})
        return cls(**counters, seconds=seconds, too_fast=too_fast, agreed=agreed, compared=compared)


@dataclass
class Tally:
    """`pairs`: (one, other) → answers that are the same, comparisons that both have judged; both orders are in it."""

    people: dict[int, Own] = field(default_factory=dict)
    units: int = 0  # comparisons that two or more have judged
    choices: Patterns = field(default_factory=Counter)  # of places in OUTCOMES
    positions: Patterns = field(default_factory=Counter)
    pairs: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def judged(self) -> int:
        return sum(own.outcomes.total() for own in self.people.values())

    def everybody(self) -> Own:
        all_of_them = Own()
        for own in self.people.values():
            all_of_them.add(own)
        return all_of_them

    def add(self, other: "Tally") -> None:
        for person, own in other.people.items():
            self.people.setdefault(person, Own()).add(own)
        self.units += other.units
        self.choices.update(other.choices)
        self.positions.update(other.positions)
        for pair, (same, shared) in other.pairs.items():
            before = self.pairs.get(pair, (0, 0))
            self.pairs[pair] = (before[0] + same, before[1] + shared)

    def take_off(self, other: "Tally") -> None:
        """As if `other`, which is in it, had never been added."""
        for person, own in other.people.items():
            self.people[person].take_off(own)
            if not self.people[person].outcomes:
                del self.people[person]
        self.units -= other.units
        self.choices, self.positions = self.choices - other.choices, self.positions - other.positions
        for pair, (same, shared) in other.pairs.items():
            left = (self.pairs[pair][0] - same, self.pairs[pair][1] - shared)
            self.pairs[pair] = left
            if not left[1]:
                del self.pairs[pair]

    def as_json(self) -> dict[str, Any]:
        return {
            "people": {str(person): own.as_json() for person, own in self.people.items()},
            "units": self.units,
            "choices": [[list(pattern), number] for pattern, number in self.choices.items()],
            "positions": [[list(pattern), number] for pattern, number in self.positions.items()],
            "pairs": [[*pair, *numbers] for pair, numbers in self.pairs.items() if pair[0] <= pair[1]],
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Tally":
        pairs = {(one, other): (same, shared) for one, other, same, shared in kept["pairs"]}
        return cls(
            people={int(person): Own.from_json(own) for person, own in kept["people"].items()},
            units=kept["units"],
            choices=Counter({tuple(pattern): number for pattern, number in kept["choices"]}),
            positions=Counter({tuple(pattern): number for pattern, number in kept["positions"]}),
            pairs=pairs | {(other, one): numbers for (one, other), numbers in pairs.items()},
        )


def tally_of(answers: Iterable[Answer]) -> Tally:
    """Of whole comparisons: all that was said of each one is among the answers."""
    tally = Tally()
    units: defaultdict[int, dict[int, Answer]] = defaultdict(dict)
    for answer in answers:
        tally.people.setdefault(answer.person, Own()).count(answer)
        if not answer.gold:
            units[answer.comparison][answer.person] = answer
    shared = [unit for unit in units.values() if len(unit) > 1]
    choices = [{person: OUTCOMES.index(answer.outcome) for person, answer in unit.items()} for unit in shared]
    tally.units = len(shared)
    tally.choices.update(tuple(sorted(unit.values())) for unit in choices)
    for unit in shared:
        known = sorted(answer.position for answer in unit.values() if answer.position is not None)
        if len(known) > 1:
            tally.positions[tuple(known)] += 1
    tally.pairs.update(pairwise(choices))
    for person, (agreed, compared) in against_the_others(choices).items():
        tally.people[person].agreed, tally.people[person].compared = agreed, compared
    return tally
