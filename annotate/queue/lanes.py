"""Lanes: of which kind the next comparison is, and in which order those of a kind come.

Each draw is by chance, so that nobody can count out when a known answer comes. A lane that is empty for somebody gives
way to the next one; only gold is never a stopgap: it comes at its rate, beside work that counts.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet

from annotate.models import Assignment, Comparison, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose

chance = secrets.SystemRandom().random


@dataclass(frozen=True, slots=True)
class Lane:
    """Open comparisons of one purpose, or of one hand-out: by priority, or from a random place on."""

    purpose: Purpose | None = None
    start: float | None = None  # in [0, 1): where a random one is looked for
    handout: int | None = None

    def candidates(self, *, project: Project, annotator: User) -> Iterator[QuerySet[Comparison]]:
        """What the annotator could be given of the lane, best first. One look-up in an index answers each part."""
        mine = claimable_by(project=project, annotator=annotator, handout=self.handout)
        if self.purpose is not None:
            mine = mine.filter(purpose=self.purpose)
        if self.start is None:
            yield mine.order_by("-priority", "round", "id")
        else:
            yield mine.filter(shuffle__gte=self.start).order_by("shuffle")
            yield mine.filter(shuffle__lt=self.start).order_by("shuffle")


def claimable_by(*, project: Project, annotator: User, handout: int | None = None) -> QuerySet[Comparison]:
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
