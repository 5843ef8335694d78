"""Lanes: of which kind the next comparison is, and in which order those of a kind come.

Each draw is by chance, so that nobody can count out when a known answer comes. A lane that is empty for somebody gives
way to the next one; only gold is never a stopgap: it comes at its rate, beside work that counts.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from django.db.models import Exists, OuterRef, QuerySet

from annotate.models import Assignment, Comparison, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose
from annotate.models.kept_queries import Given, KeptQuery

chance = secrets.SystemRandom().random


@dataclass(frozen=True, slots=True)
class Lane:
    """Open comparisons of one purpose, or of one hand-out: by priority, or from a random place on."""

    purpose: Purpose | None = None
    start: float | None = None  # in [0, 1): where a random one is looked for
    handout: int | None = None

    def candidates(self, *, project: Project, annotator: User, wait: bool = False) -> Iterator[tuple[int, Purpose, bool]]:
        """Comparisons that the annotator could be given, best first, each locked: (id, its purpose, whether they had it before).

        One look-up in an index answers each. Those that others have locked are passed over, unless it is to `wait`.
        """
        for part in ("",) if self.start is None else ("gte", "lt"):
            values = {"project": project.pk, "annotator": annotator.pk, "start": self.start, "handout": self.handout}
            if found := first_of(self.purpose, self.handout is not None, part, wait).first(**values):
                yield found


@cache
def first_of(purpose: Purpose | None, in_handout: bool, part: str, wait: bool) -> KeptQuery:
    """The look-up of one lane. `part`: by priority (""), or by chance, from the place drawn on ("gte") and before it ("lt")."""

    def build() -> QuerySet:
        annotator = Given("annotator", int)
        mine = claimable_by(
            project=Given("project", int), annotator=annotator, handout=Given("handout", int) if in_handout else None
        )
        if purpose is not None:
            mine = mine.filter(purpose=purpose)
        if part:
            mine = mine.filter(**{f"shuffle__{part}": Given("start", float)})
        had = Assignment.objects.filter(comparison=OuterRef("pk"), annotator=annotator)
        best = mine.order_by("shuffle") if part else mine.order_by("-priority", "round", "id")
        found = best.annotate(had=Exists(had)).values_list("pk", "purpose", "had")
        return found.select_for_update(no_key=True, skip_locked=not wait)[:1]

    return KeptQuery(build)


def claimable_by(
    *, project: Project | Given, annotator: User | Given, handout: int | Given | None = None
) -> QuerySet[Comparison]:
    """Without those the annotator has judged, skipped or has now. A lease that ran out does not count."""
    theirs = Assignment.objects.filter(comparison=OuterRef("pk"), annotator=annotator).exclude(state=AssignmentState.EXPIRED)
    return Comparison.objects.claimable().filter(~Exists(theirs), project=project, handout=handout)


def draw_lanes(project: Project, *, handouts: Sequence[int] = ()) -> list[Lane]:
    """The lanes of one claim, in the order in which they are tried. What was handed to this person goes before all but gold."""
    handed = [Lane(handout=handout) for handout in handouts]
    train = Lane(Purpose.TRAIN, chance() if chance() < project.random_share else None)
    evaluate = Lane(Purpose.EVALUATE)
    drawn = chance()
    if drawn < project.gold_share:
        return [Lane(Purpose.GOLD, chance()), *handed, train, evaluate]
    if drawn < project.gold_share + project.evaluation_share:
        return [*handed, evaluate, train]
    return [*handed, train, evaluate]


def only_gold() -> list[Lane]:
    """For a calibration."""
    return [Lane(Purpose.GOLD, chance())]


def in_one_order(lanes: list[Lane]) -> list[Lane]:
    """The same lanes as every other claim would try them that waits for locks: so no two wait for each other."""
    handed = sorted(lane.handout for lane in lanes if lane.handout is not None)
    purposes = sorted(lane.purpose for lane in lanes if lane.purpose is not None)
    return [*(Lane(handout=handout) for handout in handed), *map(Lane, purposes)]
