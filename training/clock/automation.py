"""The tick: look at the database, start what is due.

It is level-triggered: what to do follows from what is there, never from a message, so nothing is lost in a crash and
two clocks beside each other do no harm. It never imports torch (tests/test_architecture.py).
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django_tasks.base import Task, TaskResultStatus
from django_tasks_db.models import DBTaskResult

from annotate.models import Project, SentOnce
from training import tasks
from training.ai.sittings import seat_ai_annotators
from training.clock import kept_figures
from training.clock.announcements import tell_webhooks
from training.clock.scheduling import start_due_runs
from training.evaluations.ordering import decide_evaluations, evaluate_finished_runs
from training.generation.filling import queue_is_low
from training.generation.unanswered import has_unanswered
from training.leaderboard.counting import is_due
from training.models import Evaluation, FileImport, Generation, Inquiry, Run, Scoring, Sitting, Tryout, Version
from training.models.job import JobState
from training.playground.asking import WORKER_GONE
from training.rewards.implicit import score_what_is_new
from training.versions.registry import serving_version
from training.worker import jobs

logger = logging.getLogger(__name__)

RETRY_AFTER_FAILURE = timedelta(seconds=30)  # a generation that could not begin, as without its model: trying costs little
RETRY_GENERATION_AFTER = timedelta(minutes=5)  # the longest pause after those, and the first after one that sampled in vain
MOST_IN_VAIN = 5  # each waits twice as long as the one before, up to 80 minutes
SETTLED_AFTER = timedelta(seconds=10)  # files that changed later than this may still be on their way
DESCRIBE_TRIES = 3  # in a day, and since the model's files have changed
LEADERBOARD_PAUSE = timedelta(minutes=1)
KEEP_TASKS = timedelta(days=1)  # finished ones
GIVE_UP_TASKS = timedelta(days=30)  # those that seem to run: their worker was killed


def tick() -> None:
    """All that may be due. A part that fails is logged and does not stop the others."""
    parts = (
        take_up_stale_jobs, end_silent_tryouts, refill_queues, hurry_generations, describe_versions, decide_evaluations,
        evaluate_finished_runs, start_due_runs, seat_ai_annotators, enqueue_waiting_jobs, count_leaderboards,
        keep_figures_up_to_date, score_what_is_new, prune_tasks, prune_what_programs_asked, tell_webhooks,
    )  # fmt: skip
    for part in parts:
        _try(part)


def _try(part: Callable[[], None]) -> None:
    try:
        part()
    except Exception:
        if transaction.get_connection().in_atomic_block:
            raise  # in a test: the transaction is broken
        logger.exception("%s failed; it is tried again at the next tick", part.__name__)
        transaction.get_connection().close_if_unusable_or_obsolete()


def take_up_stale_jobs() -> None:
    for job in jobs.requeue_stale():
        logger.warning("%s %s: no heartbeat for %s s; queued again", type(job).__name__, job.pk, settings.STALE_SECONDS)


def end_silent_tryouts() -> None:
    """Nobody takes them up: whoever asked is told, and can ask again."""
    jobs.fail_stale(kind=Tryout, error=WORKER_GONE)


def keep_figures_up_to_date() -> None:
    kept_figures.count_pairs()
    kept_figures.note_answered()
    kept_figures.count_quality()
    kept_figures.count_previews()
    kept_figures.estimate_reliabilities(task_is_coming)


# -- generations -------------------------------------------------------------------------------------------


def refill_queues() -> None:
    for project in Project.objects.current().filter(promotions__isnull=False).distinct():
        if generation_is_due(project):
            start_generation(project)


def generation_is_due(project: Project) -> bool:
    """The queue is low, a version serves that has prompts left to answer, none is unfinished, and it was not in vain lately."""
    version = serving_version(project)
    if version is None or project.generations.unfinished().exists():
        return False
    if not queue_is_low(project) or not has_unanswered(version):
        return False
    return not _was_in_vain_lately(version)


def _was_in_vain_lately(version: Version) -> bool:
    """The newest generations gave nothing, and nothing has changed since."""
    newest = list(version.project.generations.order_by("-pk")[:MOST_IN_VAIN])
    vain = list(takewhile(_gave_nothing, newest))
    if not vain or _has_changed(version, since=vain[0].created_at):
        return False
    return timezone.now() - vain[0].finished_at < _pause_after(vain)


def _has_changed(version: Version, *, since: datetime) -> bool:
    """Something that may let the next generation succeed where the last did not."""
    project = version.project
    if project.promotions.filter(at__gt=since).exists() or project.prompts.filter(created_at__gt=since).exists():
        return True
    changed = weights_changed_at(version)
    return bool(changed and since < changed < timezone.now() - SETTLED_AFTER)


def weights_changed_at(version: Version) -> datetime | None:
    """When what a version computes with last changed: its files, or how its endpoint is reached."""
    return version.endpoint.changed_at if version.is_endpoint else files_changed_at(version.path)


def files_changed_at(directory: Path) -> datetime | None:
    """When a file in it, or the directory itself, was last written, moved or put back; None if it is not there."""
    try:
        times = [path.stat().st_ctime for path in (directory.parent, directory, *directory.iterdir())]
    except OSError:
        return None
    return datetime.fromtimestamp(max(times), UTC)


def _pause_after(vain: list[Generation]) -> timedelta:
    """`vain`: the newest first. Each pause is twice as long as the one before."""
    last, factor = vain[0], 2 ** (len(vain) - 1)
    if last.state == JobState.FAILED and not last.dropped:
        return min(RETRY_AFTER_FAILURE * factor, RETRY_GENERATION_AFTER)
    return RETRY_GENERATION_AFTER * factor


def _gave_nothing(generation: Generation) -> bool:
    """Though it was to: one that found the queue full had nothing to give."""
    asked = generation.total or generation.state != JobState.DONE
    return bool(asked and generation.finished_at and not generation.progress)


def start_generation(project: Project) -> Generation | None:
    """A generation of the serving version, queued. None if another clock was quicker."""
    version = serving_version(project)
    if version is None:
        return None
    try:
        with transaction.atomic():
            generation = Generation.objects.create(project=project, version=version)
            tasks.generate.using(priority=tasks.QUEUE_IS_LOW).enqueue(generation.pk)
    except IntegrityError:
        return None
    logger.info("%s: the queue is low; %s generates", project.slug, version)
    return generation


def hurry_generations() -> None:
    """What was put back while the queue was full enough goes first once it is low."""
    for generation in Generation.objects.filter(state=JobState.QUEUED).select_related("project"):
        if queue_is_low(generation.project):
            if not task_is_coming(tasks.generate, generation.pk):
                tasks.generate.using(priority=tasks.QUEUE_IS_LOW).enqueue(generation.pk)
            slow = _tasks_for(tasks.generate, generation.pk).filter(priority__lt=tasks.QUEUE_IS_LOW)
            slow.filter(status=TaskResultStatus.READY).update(priority=tasks.QUEUE_IS_LOW)


# -- tasks -------------------------------------------------------------------------------------------------


def enqueue_waiting_jobs() -> None:
    """A queued job without a task that will look at it: its task was lost, or it was put back."""
    kinds = {
        Generation: tasks.generate, Run: tasks.train, Evaluation: tasks.evaluate, Scoring: tasks.score_comparisons,
        Inquiry: tasks.answer_inquiry, Sitting: tasks.sit, Tryout: tasks.answer_tryout, FileImport: tasks.import_file,
    }  # fmt: skip
    for kind, task in kinds.items():
        for pk in kind.objects.filter(state=JobState.QUEUED).values_list("pk", flat=True):
            if not task_is_coming(task, pk):
                task.enqueue(pk)


def task_is_coming(task: Task, pk: int) -> bool:
    """A task for this row waits, or a worker took one a moment ago and may not have claimed the row yet."""
    moment_ago = timezone.now() - timedelta(seconds=settings.HEARTBEAT_SECONDS)
    coming = Q(status=TaskResultStatus.READY) | Q(status=TaskResultStatus.RUNNING, started_at__gt=moment_ago)
    return _tasks_for(task, pk).filter(coming).exists()


def _tasks_for(task: Task, pk: int):
    return DBTaskResult.objects.filter(task_path=task.module_path, args_kwargs={"args": [pk], "kwargs": {}})


def describe_versions() -> None:
    """Versions of which nobody has seen samples yet. What a run has made goes before new pairs, unless those are waited for."""
    for version in Version.objects.present().exclude(metrics__has_key="described_at"):
        if _tasks_for(tasks.describe_version, version.pk).filter(_coming(version)).exists() or description_is_given_up(version):
            continue
        task = tasks.describe_version.using(priority=tasks.AFTER_A_RUN) if version.run_id else tasks.describe_version
        task.enqueue(version.pk)


def description_is_given_up(version: Version) -> bool:
    """It failed, or its worker was killed, often enough since the model's files last changed."""
    known = _tasks_for(tasks.describe_version, version.pk)
    in_vain = known.exclude(_coming(version)).exclude(status=TaskResultStatus.SUCCESSFUL)
    if changed := weights_changed_at(version):
        in_vain = in_vain.filter(enqueued_at__gt=changed)
    return in_vain.count() >= DESCRIBE_TRIES


def _coming(version: Version) -> Q:
    """Descriptions of it that wait, or are being made: a worker that shows no sign of life any more was killed."""
    silent_since = timezone.now() - timedelta(seconds=settings.STALE_SECONDS)
    if version.describing_at and version.describing_at > silent_since:
        return Q(status__in=[TaskResultStatus.READY, TaskResultStatus.RUNNING])
    return Q(status=TaskResultStatus.READY) | Q(status=TaskResultStatus.RUNNING, started_at__gt=silent_since)


def count_leaderboards() -> None:
    """Of the projects in which somebody has judged since. Each is looked at once in LEADERBOARD_PAUSE: that counts judgements."""
    for project in Project.objects.current():
        if not cache.add(f"leaderboard-looked-at:{project.pk}", True, LEADERBOARD_PAUSE.total_seconds()):
            continue
        if is_due(project) and not task_is_coming(tasks.count_leaderboard, project.pk):
            tasks.count_leaderboard.enqueue(project.pk)


def prune_tasks() -> None:
    now = timezone.now()
    DBTaskResult.objects.filter(
        Q(status__in=[TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED], finished_at__lt=now - KEEP_TASKS)
        | Q(status=TaskResultStatus.RUNNING, started_at__lt=now - GIVE_UP_TASKS)
    ).delete()


def prune_what_programs_asked() -> None:
    """Answers that were kept for a while, in case they are asked for again."""
    SentOnce.objects.forgotten().delete()
    Inquiry.objects.forgotten().delete()
