"""Jobs: who works on a row, and what became of it.

A worker owns a job while the row carries the claim it took. Each of its writes is conditional on that claim, in one
UPDATE: a worker that was taken for dead, and whose job another has taken up, learns it from LostClaim and stops.
"""

import uuid
from typing import Any, TypeVar

from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from training.models import Evaluation, FileImport, Generation, Inquiry, Run, Scoring, Sitting
from training.models.job import Job, JobState

J = TypeVar("J", bound=Job)
JOBS: tuple[type[Job], ...] = (Generation, Run, Evaluation, Scoring, Inquiry, Sitting, FileImport)


class LostClaim(Exception):
    """The job is no longer this worker's. Stop at once and write nothing."""


def claim(*, kind: type[J], pk: int) -> J | None:
    """The queued job, now running and ours; None when it is not queued (any more): then there is nothing to do."""
    now = timezone.now()
    token = uuid.uuid4()
    claimed = kind.objects.filter(pk=pk, state=JobState.QUEUED).update(
        state=JobState.RUNNING, claim=token, heartbeat_at=now, started_at=Coalesce(F("started_at"), now), claimed_at=now,
        progress_at_claim=F("progress"), error="",
    )  # fmt: skip
    return kind.objects.get(pk=pk, claim=token) if claimed else None


def heartbeat(*, job: Job, **fields: Any) -> bool:
    """Show that the job lives, and store `fields` with it. Returns whether somebody has asked to cancel it."""
    _write(job, heartbeat_at=timezone.now(), **fields)
    job.cancel_requested = type(job).objects.values_list("cancel_requested", flat=True).get(pk=job.pk)
    return job.cancel_requested


def finish(*, job: Job, **fields: Any) -> None:
    _end(job, JobState.DONE, **fields)


def fail(*, job: Job, error: str, **fields: Any) -> None:
    """`error` is shown to people: what went wrong, where, and what to do next."""
    _end(job, JobState.FAILED, error=error, **fields)


def cancelled(*, job: Job, **fields: Any) -> None:
    _end(job, JobState.CANCELLED, **fields)


def release(*, job: Job, **fields: Any) -> None:
    """Give the job back: another worker, or this one after a restart, goes on with it."""
    _write(job, state=JobState.QUEUED, claim=None, heartbeat_at=None, **fields)


def request_cancel(*, job: Job) -> bool:
    """Ask for the end of a job: at once if nobody works on it, else its worker does it. False if it is over."""
    now = timezone.now()
    rows = type(job).objects.filter(pk=job.pk)
    asked = rows.filter(state=JobState.QUEUED).update(
        state=JobState.CANCELLED, cancel_requested=True, claim=None, finished_at=now
    ) or rows.filter(state=JobState.RUNNING).update(cancel_requested=True)
    job.refresh_from_db()
    return bool(asked)


def queue_again(*, job: Job) -> bool:
    """Put a cancelled or failed job back into the queue. False if it is in another state."""
    queued = (
        type(job)
        .objects.filter(pk=job.pk, state__in=[JobState.CANCELLED, JobState.FAILED])
        .update(
            state=JobState.QUEUED,
            claim=None,
            heartbeat_at=None,
            cancel_requested=False,
            error="",
            finished_at=None,
            started_at=None,
        )
    )
    job.refresh_from_db()
    return bool(queued)


def requeue_stale() -> list[Job]:
    """Put jobs whose worker has fallen silent back into the queue. Returns them."""
    found: list[Job] = []
    for kind in JOBS:
        for job in kind.objects.stale():
            silent = kind.objects.filter(pk=job.pk, claim=job.claim, heartbeat_at=job.heartbeat_at)
            # Somebody asked to cancel it and its worker is gone: that is all there was to do.
            ended = {"state": JobState.CANCELLED, "claim": None, "finished_at": timezone.now()}
            over = not kind.takes_back and silent.filter(cancel_requested=True).update(**ended)
            if not over and silent.update(state=JobState.QUEUED, claim=None, heartbeat_at=None):
                found.append(job)
    return found


def fail_stale(*, kind: type[Job], error: str) -> int:
    """Jobs that nobody takes up again: those whose worker has fallen silent fail, with these words. How many."""
    return kind.objects.stale().update(state=JobState.FAILED, claim=None, finished_at=timezone.now(), error=error)


def _end(job: Job, state: JobState, **fields: Any) -> None:
    _write(job, state=state, claim=None, finished_at=timezone.now(), **fields)


def _write(job: Job, **fields: Any) -> None:
    mine = Q(pk=job.pk, claim=job.claim, state=JobState.RUNNING) if job.claim else Q(pk__in=[])
    if not type(job).objects.filter(mine).update(**fields):
        raise LostClaim(f"{type(job).__name__.lower()} {job.pk} has been taken up by another worker, or is over.")
    for name, value in fields.items():
        setattr(job, name, value)
