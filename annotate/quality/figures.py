"""The quality of what has been collected: who agrees with whom, who leans to a side, how long people take.

Everything here is told from counts (`annotate.quality.tallies`), which `annotate.quality.counts` reads or keeps;
`annotate.quality.tables` makes the files and `annotate.quality.pictures` the pictures of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

from django.utils import timezone

from annotate.gold.known_answers import accuracy_of
from annotate.models import Project, User
from annotate.models.judgement import Outcome
from annotate.quality.agreement import alpha_of
from annotate.quality.counts import counted
from annotate.quality.intervals import Z95, wilson
from annotate.quality.reliability import reliabilities
from annotate.quality.shares import Share
from annotate.quality.tallies import Own, Tally

FEW = 10  # judgements of a person: with fewer, nothing is said about them
TOO_FAST_SHARE = 0.2
QUICKER = 4  # times the usual pace
Z99 = 2.575829  # many people are looked at at once: one in a hundred leans by chance, not one in twenty


@dataclass(frozen=True)
class Figures:
    """What can be said of a set of answers: a person's, or everybody's."""

    own: Own
    skipped: int

    @property
    def judged(self) -> int:
        return self.own.outcomes.total()

    @cached_property
    def left(self) -> Share:
        sides = Counter[str]()
        for answer, number in self.own.screen.items():
            sides[answer[0]] += number
        return Share(sides["a"], sides.total())

    @property
    def ties(self) -> Share:
        return Share(self.own.outcomes[Outcome.TIE.value], self.judged)

    @property
    def both_bad(self) -> Share:
        return Share(self.own.outcomes[Outcome.BOTH_BAD.value], self.judged)

    def leans(self, z: float = Z95) -> str:
        """The side that is chosen more often than chance explains, if there is one."""
        low, high = wilson(self.left.value or 0.0, self.left.of, z)
        return "left" if low > 0.5 else "right" if high < 0.5 else ""

    @property
    def skips(self) -> Share:
        return Share(self.skipped, self.skipped + self.judged)

    @property
    def agreeing(self) -> Share:
        """With what most of the others said."""
        return Share(self.own.agreed, self.own.compared)

    @property
    def timed(self) -> int:
        return self.own.seconds.total()

    @cached_property
    def median_seconds(self) -> float | None:
        return quantile(self.own.seconds, 0.5)

    @cached_property
    def middle_half(self) -> tuple[float, float] | None:
        """The quartiles of the time a judgement took."""
        if self.timed < 2:
            return None
        return quantile(self.own.seconds, 0.25), quantile(self.own.seconds, 0.75)

    @property
    def too_fast(self) -> Share:
        return Share(self.own.too_fast, self.timed)

    def days(self, *, last: int = 30) -> list[tuple[date, int]]:
        """Judgements on each of the last days, days of none included, up to today."""
        if not self.own.days:
            return []
        today = timezone.localdate()
        first = max(date.fromisoformat(min(self.own.days)), today - timedelta(days=last - 1))
        days = (first + timedelta(days=n) for n in range((today - first).days + 1))
        return [(day, self.own.days[day.isoformat()]) for day in days]


def quantile(bins: Mapping[int, int], share: float) -> float | None:
    """Of seconds counted in tenths (`tallies.bin_of`), between the two that lie next to it, as `statistics` has it."""
    total = sum(bins.values())
    if not total:
        return None
    place = share * (total - 1)
    below = int(place)
    low, high = _at_rank(bins, below), _at_rank(bins, min(below + 1, total - 1))
    return (low + (place - below) * (high - low)) / 10


def _at_rank(bins: Mapping[int, int], rank: int) -> int:
    seen = 0
    for tenths in sorted(bins):
        seen += bins[tenths]
        if seen > rank:
            return tenths
    raise IndexError(rank)


@dataclass(frozen=True)
class Person:
    user: User
    figures: Figures
    usual_seconds: float  # everybody's median
    gold: Share  # of their answers to what is gold, those that are right
    reliability: float | None = None  # how often they are right, as `annotate.quality.reliability` last estimated it

    @property
    def name(self) -> str:
        return self.user.get_full_name()

    @property
    def agreeing(self) -> Share:
        return self.figures.agreeing

    @cached_property
    def flags(self) -> list[str]:
        """What a manager should look at. Nothing is said on few judgements."""
        figures, found = self.figures, []
        if figures.too_fast.of >= FEW and figures.too_fast.value > TOO_FAST_SHARE:
            found.append("too fast")
        if figures.timed >= FEW and figures.median_seconds * QUICKER < self.usual_seconds:
            found.append("far quicker than most")
        if figures.left.of >= FEW and (side := figures.leans(Z99)):
            found.append(f"leans {side}")
        _, high = wilson(self.agreeing.value or 0.0, self.agreeing.of, Z99)
        if self.agreeing.of >= FEW and high < 0.5:
            found.append("against the others")
        _, high = wilson(self.gold.value or 0.0, self.gold.of, Z99)
        if self.gold.of >= FEW and high < 0.5:
            found.append("wrong on gold")
        return found


def nothing_yet(user: User) -> Person:
    """Somebody who has neither judged nor skipped."""
    return Person(user, Figures(Own(), 0), usual_seconds=0.0, gold=Share(0, 0))


@dataclass(frozen=True)
class Report:
    people: list[Person]  # who has judged or skipped most first
    everybody: Figures
    units: int  # comparisons with the answers of two people or more
    alpha_choice: float | None
    alpha_grade: float | None
    matrix: dict[tuple[int, int], tuple[int, int]]
    counted_at: datetime | None  # None: just now
    is_cut: bool  # there are older judgements that were not looked at

    @property
    def agreeing(self) -> Share:
        """Of all pairs of answers to one comparison, those that are the same."""
        same, shared = (sum(numbers) for numbers in zip(*self.matrix.values(), strict=True)) if self.matrix else (0, 0)
        return Share(same // 2, shared // 2)

    @property
    def missing(self) -> str:
        """In words, why there is no agreement to show, and what would bring some."""
        judging = [person for person in self.people if person.figures.judged]
        if len(judging) == 1:
            return (
                f"Only {judging[0].name} has judged so far. Agreement needs a second person: add one under Members, and "
                "ask for two judgements or more per comparison in Settings."
            )
        if not self.units:
            return (
                "No comparison has been judged by two people yet, so nobody can agree or disagree. Ask for two judgements or "
                "more per comparison in Settings."
            )
        if self.alpha_choice is None:
            return "All answers to shared comparisons are the same, so alpha is not defined: it needs some variation."
        return ""

    def flags(self, offered: Iterable[str]) -> list[tuple[str, int]]:
        """How many judgements carry each flag: those that are offered now, in their order, then those that once were."""
        counts = Counter(self.everybody.own.flags)
        return [(flag, counts.pop(flag, 0)) for flag in offered] + sorted(counts.items())

    def person(self, user_id: int) -> Person | None:
        return next((person for person in self.people if person.user.pk == user_id), None)


def report_on(project: Project) -> Report:
    """Six queries, whatever was judged."""
    found = counted(project)
    tally, skips = found.tally, found.skips
    everybody = Figures(tally.everybody(), sum(skips.values()))
    return Report(
        people=_people(project, tally, skips, everybody.median_seconds or 0.0),
        everybody=everybody,
        units=tally.units,
        alpha_choice=alpha_of(tally.choices, level="nominal"),
        alpha_grade=alpha_of(tally.positions, level="ordinal"),
        matrix=tally.pairs,
        counted_at=found.at,
        is_cut=found.is_cut,
    )


def _people(project: Project, tally: Tally, skips: dict[int, int], usual_seconds: float) -> list[Person]:
    reliability, gold = reliabilities(project), accuracy_of(project)
    users = User.objects.in_bulk({*tally.people, *skips})
    people = [
        Person(
            user,
            Figures(tally.people.get(pk, Own()), skips.get(pk, 0)),
            usual_seconds,
            gold.get(pk, Share(0, 0)),
            reliability.get(pk),
        )
        for pk, user in users.items()
    ]
    return sorted(people, key=lambda person: (-person.figures.judged, person.name, person.user.pk))
