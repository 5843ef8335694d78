"""What every long job has in common: a row with a state, progress and a heartbeat.

A worker owns a job while the row carries its `claim`. Every write of the owner is conditional on it, so a worker
that was thought dead and comes back finds that it owns nothing (`training.worker.jobs`).
"""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone


class JobState(models.TextChoices):
    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Running"
    DONE = "done", "Finished"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"

    @property
    def is_over(self) -> bool:
        return self in (JobState.DONE, JobState.CANCELLED, JobState.FAILED)


class JobQuerySet(models.QuerySet):
    def unfinished(self):
        return self.filter(state__in=[JobState.QUEUED, JobState.RUNNING])

    def stale(self):
        """Running, says the row, but no heartbeat has come for too long: the worker is gone."""
        limit = timezone.now() - timedelta(seconds=settings.STALE_SECONDS)
        return self.filter(state=JobState.RUNNING, heartbeat_at__lt=limit)


class Job(models.Model):
    takes_back = False  # a cancelled one has work left: it takes back what it has done

    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    claim = models.UUIDField(null=True, blank=True, help_text="Who works on it now.")
    progress = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    error = models.TextField(blank=True, help_text="What went wrong, where, and what to do next.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="When its worker took it up, perhaps not as the first.")
    progress_at_claim = models.PositiveIntegerField(default=0, help_text="What had been done then.")
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        abstract = True

    @property
    def is_over(self) -> bool:
        return JobState(self.state).is_over

    @property
    def is_silent(self) -> bool:
        """As `stale`, of this row: its worker is gone."""
        silent_since = timezone.now() - timedelta(seconds=settings.STALE_SECONDS)
        return self.state == JobState.RUNNING and bool(self.heartbeat_at and self.heartbeat_at < silent_since)

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.progress / self.total)) if self.total else 0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the pace since its worker took it up, or None before that is known."""
        done = self.progress - self.progress_at_claim
        if self.state != JobState.RUNNING or not (self.claimed_at and self.total and done > 0):
            return None
        elapsed = (timezone.now() - self.claimed_at).total_seconds()
        return elapsed * max(0, self.total - self.progress) / done
