"""What each member of a project has done lately. The same number of queries for one member and for two hundred."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone

from annotate.consensus.exclusions import excluded_people
from annotate.gold.known_answers import accuracy_of
from annotate.models import Assignment, Judgement, Membership, Project, User
from annotate.projects.judged import count_judged_since
from annotate.quality.agreement import against_the_others
from annotate.quality.figures import Share

LOOKED_AT = 4000  # of the newest judgements of the project: for the usual time and the agreement
DAY = timedelta(days=1)
WEEK = timedelta(days=7)  # today and the six days before


@dataclass(frozen=True, slots=True)
class Activity:
    membership: Membership
    last_judged: datetime | None
    is_at_work: bool  # has a pair on screen now
    week: int  # judgements in the last seven days, today among them
    median_seconds: float | None  # of the newest
    agreeing: Share  # with what most of the others said
    accuracy: Share  # of their answers to known ones
    is_excluded: bool

    @property
    def person(self) -> User:
        return self.membership.user

    @property
    def last_seen(self) -> datetime | None:
        return max(filter(None, [self.last_judged, self.person.last_login]), default=None)


def list_activity(project: Project) -> list[Activity]:
    """Who joined first comes first. Five queries."""
    accuracy = accuracy_of(project)
    seconds, outcomes = _newest(project)
    alike = against_the_others(unit for unit in outcomes.values() if len(unit) > 1)
    excluded = excluded_people(project)
    week = count_judged_since(project, timezone.localdate() - WEEK + DAY)
    return [
        Activity(
            membership=membership,
            last_judged=membership.last_judged,
            is_at_work=membership.is_at_work,
            week=week[membership.user_id],
            median_seconds=median(seconds[membership.user_id]) if membership.user_id in seconds else None,
            agreeing=Share(*alike.get(membership.user_id, (0, 0))),
            accuracy=accuracy.get(membership.user_id, Share(0, 0)),
            is_excluded=membership.user_id in excluded,
        )
        for membership in _memberships(project)
    ]


def _memberships(project: Project) -> QuerySet[Membership]:
    own = Judgement.objects.standing().filter(annotator=OuterRef("user"), comparison__project=project, batch=None)
    at_work = Assignment.objects.live().filter(annotator=OuterRef("user"), comparison__project=project)
    return (
        project.memberships.select_related("user")
        .annotate(
            last_judged=Subquery(own.order_by("-created_at").values("created_at")[:1]),
            is_at_work=Exists(at_work),
        )
        .order_by("joined_at", "pk")
    )


def _newest(project: Project) -> tuple[dict[int, list[float]], dict[int, dict[int, str]]]:
    """Of the newest judgements: each person's times, and each comparison's answers."""
    rows = Judgement.objects.standing().filter(comparison__project=project, batch=None).order_by("-pk")
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    outcomes: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for person, comparison, outcome, took in rows.values_list("annotator_id", "comparison_id", "outcome", "seconds")[:LOOKED_AT]:
        outcomes[comparison][person] = outcome
        if took is not None:
            seconds[person].append(took)
    return seconds, outcomes
