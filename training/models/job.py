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
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    claim = models.UUIDField(null=True, blank=True, help_text="Who works on it now.")
    progress = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    error = models.TextField(blank=True, help_text="What went wrong, where, and what to do next.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        abstract = True

    @property
    def is_over(self) -> bool:
        return JobState(self.state).is_over

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.progress / self.total)) if self.total else 0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the pace so far, or None before anything is known."""
        if self.state != JobState.RUNNING or not (self.started_at and self.progress and self.total):
            return None
        elapsed = (timezone.now() - self.started_at).total_seconds()
        return elapsed * (self.total - self.progress) / self.progress
