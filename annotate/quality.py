"""The quality of what has been collected: who agrees with whom, who leans to a side, how long people take.

`report_on` reads a project's newest judgements in three queries, however many there are, and counts in memory. Everything
else here is a view of those counts; `annotate.quality_tables` makes the files and `annotate.pictures` the pictures of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from statistics import median, quantiles

from django.db.models import Count
from django.db.models.functions import Length
from django.utils import timezone

from .agreement import against_the_others, alpha, pairwise
from .intervals import Z95, interval_of, wilson
from .models import Assignment, Judgement, Project, User
from .models.assignment import AssignmentState
from .models.judgement import Outcome
from .models.scale import Grades

NEWEST = 20_000  # judgements that are looked at, so that a page takes about a second whatever was collected
FASTEST = 100.0  # characters of both answers in a second: four times what people read
LEAST_SECONDS = 1.0
FEW = 10  # judgements of a person: with fewer, nothing is said about them
TOO_FAST_SHARE = 0.2
QUICKER = 4  # times the usual pace
Z99 = 2.575829  # many people are looked at at once: one in a hundred leans by chance, not one in twenty


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of`."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def percent(self) -> str:
        return f"{100 * self.count / self.of:.0f} %" if self.of else "–"

    @property
    def interval(self) -> str:
        """95 %, by Wilson: "49–94 %"."""
        return interval_of(self.value, self.of)

    @property
    def range(self) -> tuple[float, float]:
        return wilson(self.value or 0.0, self.of)


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

    @property
    def position(self) -> int | None:
        """From 4, first significantly better, by 0, a tie, to −4. Both bad has no place on that line."""
        signs = {Outcome.FIRST: 1, Outcome.TIE: 0, Outcome.SECOND: -1}
        return signs[self.outcome] * self.rank if self.outcome in signs else None

    @property
    def is_left(self) -> bool | None:
        """Whether the answer shown on the left was chosen; None when neither was, or nobody knows what stood left."""
        return (self.outcome == Outcome.FIRST) != self.swapped if self.rank and not self.imported else None

    @property
    def is_too_fast(self) -> bool:
        return self.seconds is not None and self.seconds < max(LEAST_SECONDS, self.characters / FASTEST)


@dataclass(frozen=True)
class Figures:
    """What can be said of a set of answers: a person's, or everybody's."""

    answers: list[Answer]
    skipped: int

    @property
    def judged(self) -> int:
        return len(self.answers)

    @cached_property
    def left(self) -> Share:
        sides = [answer.is_left for answer in self.answers if answer.is_left is not None]
        return Share(sum(sides), len(sides))

    @cached_property
    def ties(self) -> Share:
        return self._share_of(Outcome.TIE)

    @cached_property
    def both_bad(self) -> Share:
        return self._share_of(Outcome.BOTH_BAD)

    def _share_of(self, outcome: Outcome) -> Share:
        return Share(sum(answer.outcome == outcome for answer in self.answers), self.judged)

    def leans(self, z: float = Z95) -> str:
        """The side that is chosen more often than chance explains, if there is one."""
        low, high = wilson(self.left.value or 0.0, self.left.of, z)
        return "left" if low > 0.5 else "right" if high < 0.5 else ""

    @property
    def skips(self) -> Share:
        return Share(self.skipped, self.skipped + self.judged)

    @cached_property
    def seconds(self) -> list[float]:
        return sorted(answer.seconds for answer in self.answers if answer.seconds is not None)

    @property
    def median_seconds(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    @property
    def middle_half(self) -> tuple[float, float] | None:
        """The quartiles of the time a judgement took."""
        if len(self.seconds) < 2:
            return None
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @cached_property
    def too_fast(self) -> Share:
        return Share(sum(answer.is_too_fast for answer in self.answers), len(self.seconds))


@dataclass(frozen=True)
class Person:
    user: User
    figures: Figures
    agreeing: Share  # with what most of the others said
    usual_seconds: float  # everybody's median

    @property
    def name(self) -> str:
        return self.user.get_full_name()

    @cached_property
    def flags(self) -> list[str]:
        """What a manager should look at. Nothing is said on few judgements."""
        figures, found = self.figures, []
        if figures.too_fast.of >= FEW and figures.too_fast.value > TOO_FAST_SHARE:
            found.append("too fast")
        if len(figures.seconds) >= FEW and figures.median_seconds * QUICKER < self.usual_seconds:
            found.append("far quicker than most")
        if figures.left.of >= FEW and (side := figures.leans(Z99)):
            found.append(f"leans {side}")
        _, high = wilson(self.agreeing.value or 0.0, self.agreeing.of, Z99)
        if self.agreeing.of >= FEW and high < 0.5:
            found.append("against the others")
        return found


@dataclass(frozen=True)
class Report:
    answers: list[Answer]
    people: list[Person]  # who has judged or skipped most first
    everybody: Figures
    units: list[dict[int, Answer]]  # comparisons with the answers of two people or more
    alpha_choice: float | None
    alpha_grade: float | None
    matrix: dict[tuple[int, int], tuple[int, int]]
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
        counts = Counter(flag for answer in self.answers for flag in answer.flags)
        return [(flag, counts.pop(flag, 0)) for flag in offered] + sorted(counts.items())

    def days(self, *, last: int = 30) -> list[tuple[date, int]]:
        """Judgements on each of the last days, days of none included, up to today."""
        if not self.answers:
            return []
        counts = Counter(answer.day for answer in self.answers)
        today = timezone.localdate()
        first = max(min(counts), today - timedelta(days=last - 1))
        return [(day, counts[day]) for day in (first + timedelta(days=n) for n in range((today - first).days + 1))]


OUTCOMES = {outcome.value: outcome for outcome in Outcome}
RANK_OF = {grades.value: [0, *(grades.rank(each) for each in range(1, grades.strengths + 1))] for grades in Grades}
ROW = (
    "comparison_id", "annotator_id", "outcome", "strength", "assignment__grades", "assignment__swapped", "seconds", "created_at",
    "batch_id", "flags",
)  # fmt: skip


def report_on(project: Project) -> Report:
    answers = _read_answers(project)
    skipped = _count_skips(project)
    shared = _shared(answers)
    choices = [{person: answer.outcome for person, answer in unit.items()} for unit in shared]
    number_of = {outcome: number for number, outcome in enumerate(Outcome)}
    positions = [[answer.position for answer in unit.values() if answer.position is not None] for unit in shared]
    everybody = Figures(answers, sum(skipped.values()))
    return Report(
        answers=answers,
        people=_people(answers, skipped, against_the_others(choices), everybody.median_seconds or 0.0),
        everybody=everybody,
        units=shared,
        alpha_choice=alpha(([number_of[choice] for choice in unit.values()] for unit in choices), level="nominal"),
        alpha_grade=alpha(positions, level="ordinal"),
        matrix=pairwise(choices),
        is_cut=len(answers) == NEWEST,
    )


def _read_answers(project: Project) -> list[Answer]:
    rows = (
        Judgement.objects.standing()
        .filter(comparison__project=project)
        .order_by("-pk")
        .values_list(*ROW, Length("comparison__first__text"), Length("comparison__second__text"))[:NEWEST]
    )
    zone = timezone.get_current_timezone()
    return [_answer(row, zone) for row in rows.iterator(chunk_size=2000)]


def _answer(row: tuple, zone) -> Answer:
    comparison, person, outcome, strength, grades, swapped, seconds, created_at, batch, flags, first, second = row
    created_at: datetime
    rank = RANK_OF[grades][min(strength, grades // 2)]
    day = created_at.astimezone(zone).date()
    return Answer(
        comparison, person, OUTCOMES[outcome], rank, swapped, seconds, day, first + second, batch is not None, tuple(flags)
    )


def _count_skips(project: Project) -> dict[int, int]:
    skips = Assignment.objects.filter(comparison__project=project, state=AssignmentState.SKIPPED)
    return dict(skips.order_by().values_list("annotator_id").annotate(Count("pk")))


def _shared(answers: Iterable[Answer]) -> list[dict[int, Answer]]:
    """The answers to each comparison that two people or more have judged."""
    units: defaultdict[int, dict[int, Answer]] = defaultdict(dict)
    for answer in answers:
        units[answer.comparison][answer.person] = answer
    return [unit for unit in units.values() if len(unit) > 1]


def _people(
    answers: list[Answer], skipped: dict[int, int], agreeing: dict[int, tuple[int, int]], usual_seconds: float
) -> list[Person]:
    own: defaultdict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        own[answer.person].append(answer)
    users = User.objects.in_bulk({*own, *skipped})
    people = [
        Person(user, Figures(own.get(pk, []), skipped.get(pk, 0)), Share(*agreeing.get(pk, (0, 0))), usual_seconds)
        for pk, user in users.items()
    ]
    return sorted(people, key=lambda person: (-person.figures.judged, person.name, person.user.pk))
