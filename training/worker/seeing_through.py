"""Seeing a job through: claimed, worked on, and ended in the way its work ended."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from django.conf import settings
from django.utils import timezone

from training.models.job import Job
from training.worker import jobs
from training.worker.jobs import LostClaim
from training.worker.stopping import Interrupted, Postponed, Stopped, WorkFailed

logger = logging.getLogger(__name__)
J = TypeVar("J", bound=Job)


def see_through(*, kind: type[J], pk: int, work: Callable[[J], None], advice: str = "") -> None:
    """Claim the job and do its `work`, which ends it. Does nothing if it is not queued.

    Work that raises Interrupted is cancelled; Postponed or Stopped, queued again; WorkFailed, failed with these words; anything
    else, failed with its own and `advice` after them, and the worker's log has the rest. A lost claim writes nothing.
    """
    job = jobs.claim(kind=kind, pk=pk)
    if job is None:
        return
    try:
        try:
            work(job)
        except Interrupted:
            jobs.cancelled(job=job)
        except (Postponed, Stopped):
            jobs.release(job=job)
        except LostClaim:
            raise
        except WorkFailed as error:
            jobs.fail(job=job, error=str(error))
        except Exception as error:
            logger.exception("%s %s failed", kind.__name__, pk)
            jobs.fail(job=job, error=f"{type(error).__name__}: {error}. The worker's log has the details. {advice}".strip())
        except BaseException:  # the worker is being stopped at once: another goes on
            with suppress(LostClaim):
                jobs.release(job=job)
            raise
    except LostClaim as lost:
        logger.warning("%s", lost)


class Pulse:
    """Called every now and then: a heartbeat when one is due, Interrupted when somebody has cancelled, Stopped when the worker
    is to end.
    """

    def __init__(self, job: Job, check: Callable[[], None]) -> None:
        self.job = job
        self.check = check
        self.last = timezone.now()

    def __call__(self) -> None:
        self.check()
        now = timezone.now()
        if (now - self.last).total_seconds() >= settings.HEARTBEAT_SECONDS:
            self.last = now
            if jobs.heartbeat(job=self.job):
                raise Interrupted
