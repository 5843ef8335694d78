"""Hand-outs: a manager gives a batch of comparisons to named people, and releases what is left of it."""

from collections.abc import Collection, Iterator

from django.db import transaction
from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone

from annotate.models import Comparison, Handout, Project, User
from annotate.models.comparison import ComparisonState
from annotate.models.project import Role
from annotate.queue.places import lock_comparison, lock_if_free
from annotate.text.typed import storable

MOST = 10_000  # comparisons at once
ROWS_AT_ONCE = 500


class HandoutRefused(Exception):
    """Nothing was handed out; the message says why and what next."""


def may_get(project: Project) -> QuerySet[User]:
    """Who can be handed something: the members who judge."""
    judging = [role for role in Role if role.may_judge]
    return User.objects.filter(memberships__project=project, memberships__role__in=judging).order_by("name", "username")


def open_to_hand_out(project: Project, *, containing: str = "") -> QuerySet[Comparison]:
    """Training comparisons with a free place that are with nobody in particular, best first."""
    found = Comparison.objects.claimable().for_training().filter(project=project, handout=None)
    if containing:
        found = found.whose_prompt_contains(containing)
    return found.order_by("-priority", "round", "id")


@transaction.atomic
def hand_out(*, project: Project, by: User, name: str, people: Collection[User], count: int, containing: str = "") -> Handout:
    """Gives the next `count` open comparisons to these people alone. What somebody has on the screen stays with them."""
    name, containing = storable(name).strip()[:100], storable(containing).strip()
    if not name or not people:
        raise HandoutRefused("Give the batch a name, and choose who gets it.")
    strangers = {person.pk for person in people} - set(may_get(project).values_list("pk", flat=True))
    if strangers:
        raise HandoutRefused("Only members of this project who judge can be handed something.")
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # numbers are given one after the other
    chosen = list(open_to_hand_out(project, containing=containing).values_list("pk", flat=True)[: min(count, MOST)])
    free = [pk for some in _parts(chosen) for pk in lock_if_free(some)]
    if not free:
        where = f" whose prompt contains “{containing}”" if containing else ""
        raise HandoutRefused(f"No open comparison{where} can be handed out now. Others are judged, on screens or handed out.")
    number = (project.handouts.aggregate(last=Max("number"))["last"] or 0) + 1
    handout = Handout.objects.create(project=project, number=number, name=name, by=by, size=len(free))
    handout.people.set(people)
    for some in _parts(free):
        Comparison.objects.filter(pk__in=some, handout=None).update(handout=handout)
    return handout


def release(*, handout: Handout) -> None:
    """What is left of it belongs to everybody again."""
    Handout.objects.filter(pk=handout.pk, released_at=None).update(released_at=timezone.now())
    theirs = list(Comparison.objects.filter(handout=handout).values_list("pk", flat=True))
    for some in _parts(theirs):
        with transaction.atomic():
            Comparison.objects.filter(pk__in=lock_if_free(some)).update(handout=None)
    for pk in Comparison.objects.filter(handout=handout).values_list("pk", flat=True):  # those that were locked: one at a time
        with transaction.atomic():
            lock_comparison(pk)
            Comparison.objects.filter(pk=pk).update(handout=None)


def handouts_of(project: Project) -> QuerySet[Handout]:
    """Those that are not released and the newest first, each with how many of its comparisons are `judged`."""
    judged = Count("comparisons", filter=Q(comparisons__state=ComparisonState.DONE), distinct=True)
    found = project.handouts.select_related("by").prefetch_related("people")
    return found.annotate(judged=judged).order_by(F("released_at").asc(nulls_first=True), "-number")


def _parts(pks: list[int]) -> Iterator[list[int]]:
    """SQLite takes a limited number of variables."""
    return (pks[start : start + ROWS_AT_ONCE] for start in range(0, len(pks), ROWS_AT_ONCE))
