"""What the gold pages list: the known answers, what could become one, and how people do."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet

from annotate.gold.calibration import is_stopped
from annotate.gold.known_answers import accuracy_of, accuracy_on, expected_in_words
from annotate.models import Comparison, Judgement, Membership, Project
from annotate.models.comparison import Purpose
from annotate.models.project import Role
from annotate.models.scale import Grades
from annotate.quality.shares import Share

PAGE = 30
SHOWN = {"gold": "Gold", "suggested": "Suggested", "all": "All pairs", "people": "People"}


@dataclass(frozen=True, slots=True)
class Row:
    comparison: Comparison
    expected: str  # in words; "" while it is not gold
    accuracy: Share

    @property
    def prompt(self) -> str:
        return self.comparison.prompt.last_message[:300]


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[Row]
    following: int | None  # the comparison before which the next page begins


def list_pairs(*, project: Project, show: str, containing: str = "", before: int = 0) -> Page:
    """The newest first. Two queries."""
    found = shown_pairs(project=project, show=show, containing=containing)
    if before:
        found = found.filter(pk__lt=before)
    comparisons = list(found.select_related("prompt", "gold").order_by("-pk")[: PAGE + 1])
    shown = comparisons[:PAGE]
    accuracy = accuracy_on([comparison.pk for comparison in shown if comparison.purpose == Purpose.GOLD])
    rows = [
        Row(
            comparison,
            expected_in_words(comparison.gold, grades=Grades(project.grades))
            if comparison.purpose == Purpose.GOLD and hasattr(comparison, "gold")
            else "",
            accuracy.get(comparison.pk, Share(0, 0)),
        )
        for comparison in shown
    ]
    return Page(rows, shown[-1].pk if len(comparisons) > PAGE else None)


def shown_pairs(*, project: Project, show: str, containing: str = "") -> QuerySet[Comparison]:
    """`show` is one of SHOWN. Suggested: done training comparisons that two people or more have judged alike."""
    if show == "gold":
        found = project.comparisons.filter(purpose=Purpose.GOLD)
    elif show == "suggested":
        found = project.comparisons.for_training().unanimous()
    else:
        found = project.comparisons.exclude(purpose=Purpose.EVALUATE)
    return found.whose_prompt_contains(containing) if containing else found


def count_gold(project: Project) -> int:
    return project.comparisons.filter(purpose=Purpose.GOLD).count()


@dataclass(frozen=True, slots=True)
class Checked:
    membership: Membership
    accuracy: Share
    is_stopped: bool

    @property
    def name(self) -> str:
        return self.membership.user.get_full_name()


def list_people(project: Project) -> list[Checked]:
    """The members who judge, with how they do on what is gold now. Two queries."""
    accuracy = accuracy_of(project)
    members = project.memberships.filter(role__in=[role for role in Role if role.may_judge]).select_related("user")
    return [
        Checked(each, accuracy.get(each.user_id, Share(0, 0)), is_stopped(project, each))
        for each in members.order_by("user__name", "user__username")
    ]


def said_of(comparison: Comparison) -> list[dict[str, Any]]:
    """How often each answer was given, as gold and before it was."""
    rows = Judgement.objects.standing().filter(comparison=comparison).order_by("assignment__is_gold")
    counted = rows.values("outcome", "strength", "assignment__grades", "assignment__is_gold").annotate(count=Count("pk"))
    return list(counted)
