"""Thumbs up or down on single answers: what is shown next, and what is said of it.

Nobody waits for a rating, so there are no places and no leases: an answer is shown to as many people as judge a pair of the
project, or to one more when two ask at the same moment.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.judged import pseudonym
from annotate.judging.judgements import MAX_SECONDS
from annotate.judging.refusals import JudgementRefused
from annotate.models import Completion, Membership, Project, Rating, User
from annotate.models.project import Role

READ_AT_ONCE = 1000
EVERY_RATING = Q()


def next_rating(*, project: Project, annotator: User) -> Rating | None:
    """The answer this person is shown: the one they have open, else one that too few have rated. None: there is none for them,
    or nothing is handed out to them now (`explain_no_rating`)."""
    if not _may_rate(project, annotator) or _is_suspended(project, annotator):
        return None
    own = Rating.objects.filter(annotator=annotator, completion__prompt__project=project).select_related("completion__prompt")
    if found := own.open().order_by("shown_at").first():
        return found
    if project.is_paused:
        return None
    while (completion := _choose(project, annotator)) is not None:
        try:
            with transaction.atomic():
                return Rating.objects.create(completion=completion, annotator=annotator)
        except IntegrityError:  # another tab of theirs was quicker
            if found := own.open().order_by("shown_at").first():
                return found
    return None


def _may_rate(project: Project, annotator: User) -> bool:
    role = Membership.objects.filter(project=project, user=annotator).values_list("role", flat=True).first()
    return bool(role and Role(role).may_judge and project.asks_for_ratings and not project.archived_at)


def _is_suspended(project: Project, annotator: User) -> bool:
    """They get nothing, and what they have said stands. What is on its way is still taken, as it is of comparisons."""
    return Membership.objects.filter(project=project, user=annotator, suspended_at__isnull=False).exists()


def _choose(project: Project, annotator: User) -> Completion | None:
    """From a random place on: the cost does not grow with what has been rated, and everything has the same chance."""
    rows = _ratable(project, annotator)
    ends = Completion.objects.filter(prompt__project=project).aggregate(low=Min("pk"), high=Max("pk"))
    if ends["low"] is None:
        return None
    start = random.randint(ends["low"], ends["high"])
    return rows.filter(pk__gte=start).order_by("pk").first() or rows.filter(pk__lt=start).order_by("pk").first()


def _ratable(project: Project, annotator: User) -> QuerySet[Completion]:
    """Sampled or imported answers that this person has not seen here and of which too few have said anything."""
    lately = Q(shown_at__gt=timezone.now() - timedelta(minutes=project.lease_minutes), skipped_at=None)
    theirs = Rating.objects.filter(completion=OuterRef("pk"), annotator=annotator)
    taken = Rating.objects.filter(Q(good__isnull=False) | lately, completion=OuterRef("pk"))
    rows = Completion.objects.filter(~Exists(theirs), prompt__project=project).exclude(temperature=0).select_related("prompt")
    if project.judgements_required == 1:
        return rows.filter(~Exists(taken))
    counted = Count("ratings", filter=Q(ratings__good__isnull=False) | Q(ratings__in=Rating.objects.filter(lately)))
    return rows.annotate(said=counted).filter(said__lt=project.judgements_required)


@transaction.atomic
def rate(*, annotator: User, rating_id: UUID, good: bool, seconds: float | None = None) -> Rating:
    """What the person says of the answer, once: sent again, what was stored first is the answer. Raises JudgementRefused."""
    rating = _find(annotator, rating_id)
    if rating.skipped_at is not None:
        raise JudgementRefused("skipped", "You have skipped this answer. Go on with the next one.")
    if rating.good is None:
        rating.good, rating.answered_at = good, timezone.now()
        rating.seconds = None if seconds is None else min(max(float(seconds), 0.0), MAX_SECONDS)
        rating.save(update_fields=["good", "answered_at", "seconds"])
    return rating


@transaction.atomic
def skip_rating(*, annotator: User, rating_id: UUID) -> None:
    rating = _find(annotator, rating_id)
    if rating.good is not None:
        raise JudgementRefused("judged", "You have already rated this answer. Undo takes it back.")
    rating.skipped_at = rating.skipped_at or timezone.now()
    rating.save(update_fields=["skipped_at"])


@transaction.atomic
def take_back_rating(*, project: Project, annotator: User) -> Rating | None:
    """The latest one is open again, to be answered anew. None when there is none."""
    if not _may_rate(project, annotator) or _is_suspended(project, annotator):
        return None
    own = Rating.objects.select_for_update(of=("self",), no_key=True).filter(
        annotator=annotator, completion__prompt__project=project
    )
    rating = own.given().filter(batch=None).order_by("-answered_at").first()
    if rating is not None:
        oldest = own.open().order_by("shown_at").values_list("shown_at", flat=True).first()
        rating.good = rating.answered_at = None
        rating.shown_at = min(rating.shown_at, oldest - timedelta(milliseconds=1)) if oldest else rating.shown_at
        rating.save(update_fields=["good", "answered_at", "shown_at"])
    return rating


def _find(annotator: User, rating_id: UUID) -> Rating:
    rows = Rating.objects.select_for_update(of=("self",), no_key=True).select_related("completion__prompt__project")
    rating = rows.filter(pk=rating_id, annotator=annotator).first()
    if rating is None or not _may_rate(rating.completion.prompt.project, annotator):
        raise JudgementRefused("not_yours", "This answer was not shown to you. Go on with the next one.")
    return rating


def explain_no_rating(*, project: Project, annotator: User) -> str:
    if _is_suspended(project, annotator):
        return "Your work here is suspended, so you get nothing to rate. Your ratings so far are kept. Ask a manager."
    if project.archived_at:
        return "This project is archived: nothing is handed out any more."
    if not project.asks_for_ratings:
        return "This project does not ask for ratings of single answers. A manager can change that in its settings."
    if project.is_paused:
        reason = f": “{project.pause_reason}”" if project.pause_reason else ""
        return f"The work is paused{reason}. Look again when a manager has let it go on."
    return "You have rated every answer there is for you. New ones come as soon as the model has written them."


def count_ratings(project: Project) -> dict[str, int]:
    """`good` and `bad`: everybody's."""
    rows = Rating.objects.given().filter(completion__prompt__project=project)
    counted = rows.aggregate(ups=Count("pk", filter=Q(good=True)), downs=Count("pk", filter=Q(good=False)))
    return {"good": counted["ups"], "bad": counted["downs"]}


# -- reading them ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    key: str
    prompt: list[dict[str, str]]
    text: str
    good: bool
    annotator: str  # a pseudonym


def read_ratings(*, project: Project, split: str = "", chosen: Q = EVERY_RATING) -> Iterator[RatedAnswer]:
    """Those that were given and are `chosen`, in order; one streamed query. Without the people who are excluded."""
    rows: Any = Rating.objects.given().filter(chosen, completion__prompt__project=project).order_by("completion_id", "pk")
    rows = rows.exclude(annotator__in=excluded_people(project))
    if split:
        rows = rows.filter(completion__prompt__split=split)
    fields = ("pk", "completion__prompt__messages", "completion__text", "good", "annotator_id")
    for key, prompt, text, good, who in rows.values_list(*fields).iterator(chunk_size=READ_AT_ONCE):
        yield RatedAnswer(str(key), prompt, text, good, pseudonym(project, who))
