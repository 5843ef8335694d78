"""When a run starts by itself: after so many new judgements, or at a time of the week. The tick asks (`automation`)."""

import logging
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from annotate.models import Judgement, Project
from annotate.models.comparison import Purpose
from annotate.models.project import TrainingDay
from training.datasets.snapshots import NothingToTrainOn
from training.models import Run
from training.runs.ordering import ConfigError, start_run

logger = logging.getLogger(__name__)

GRACE = timedelta(hours=1)  # that a clock which was away may be late
TRY_AGAIN = 600  # seconds after which a start that was refused is tried again, if nothing has changed


def automates(project: Project) -> bool:
    return bool(project.trains_after or project.trains_on)


def new_judgements(project: Project) -> int:
    """To train on, standing, given since the newest run was started; counted no further than a run needs."""
    newest = project.runs.order_by("-number").values_list("created_at", flat=True).first()
    judged = Judgement.objects.standing().filter(comparison__project=project, comparison__purpose=Purpose.TRAIN)
    if newest:
        judged = judged.filter(created_at__gt=newest)
    return judged.order_by()[: max(project.trains_after, 1)].count()


def next_time(project: Project, *, after: datetime) -> datetime | None:
    """The first scheduled time after that one; None without a schedule. A time that a clock change skips comes an hour later."""
    if not project.trains_on:
        return None
    day = timezone.localtime(after).date()
    for ahead in range(9):
        date = day + timedelta(days=ahead)
        at = timezone.make_aware(datetime.combine(date, project.trains_at))
        if at > after and project.trains_on in (TrainingDay.DAILY, str(date.weekday())):
            return at
    raise AssertionError(f"{project.trains_on!r} is no day")  # the choices say it is


def why_due(project: Project, *, now: datetime) -> str:
    """Why a run is due, for its log; "" if none is. A run that is unfinished is waited for."""
    if not automates(project) or project.runs.unfinished().exists():
        return ""
    new = new_judgements(project)
    if project.trains_after and new >= project.trains_after:
        return f"{new} new judgements have come"
    at = next_time(project, after=now - GRACE)
    if new and at and at <= now and not project.runs.filter(created_at__gte=at).exists():
        return f"it is {timezone.localtime(at):%A %H:%M}"
    return ""


def start_due_runs() -> None:
    """A part of the tick. What is refused (nothing decided, an endpoint serves) is tried again later, not at each tick."""
    now = timezone.now()
    for project in Project.objects.filter(Q(trains_after__gt=0) | ~Q(trains_on=""), promotions__isnull=False).distinct():
        if why := why_due(project, now=now):
            _start(project, why)


def _start(project: Project, why: str) -> Run | None:
    newest = Judgement.objects.filter(comparison__project=project).order_by("-pk").values_list("pk", flat=True).first()
    if not cache.add(f"start-of-run-refused:{project.pk}:{newest}", 1, TRY_AGAIN):
        return None
    try:
        run = start_run(project=project)
    except (NothingToTrainOn, ConfigError) as refusal:
        logger.warning("%s: a run is due (%s) and cannot start: %s", project.slug, why, refusal)
        return None
    logger.info("%s: %s; %s starts", project.slug, why, run)
    return run
