"""Generations: jobs that sample pairs and put them into the queue."""

from django.db import models

from annotate.models import Project

from .endpoint import Metered
from .job import Job
from .version import Version


class Generation(Metered, Job):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="generations")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="generations")
    dropped_identical = models.PositiveIntegerField(default=0)
    dropped_empty = models.PositiveIntegerField(default=0)
    dropped_named = models.PositiveIntegerField(default=0, help_text="Pairs in which an answer names its maker.")
    dropped_refused = models.PositiveIntegerField(default=0, help_text="Prompts the model cannot take, e.g. too long ones.")
    resampled = models.PositiveIntegerField(default=0)

    @property
    def dropped(self) -> int:
        """Prompts that got no pair, for whatever reason."""
        return self.dropped_identical + self.dropped_empty + self.dropped_named + self.dropped_refused

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_unfinished_generation_per_project",
            ),
        ]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="generation_by_state")]
