"""Runs: one training job each, and the events its trainer wrote."""

from django.conf import settings
from django.db import models
from django.urls import reverse

from annotate.models import Project, User

from .dataset import Dataset
from .job import Job
from .version import Version


class Run(Job):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="runs", help_text="None until its worker takes it."
    )
    filters = models.JSONField(default=dict, help_text="Which judged pairs its worker takes, where that is left to it.")
    parent = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="runs", help_text="Where the policy starts.")
    reference = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+", help_text="π_ref.")
    settings = models.JSONField(help_text="What was asked for: a preset and the keys that override it.")
    processes = models.PositiveSmallIntegerField(default=1, help_text="That train together, on one host.")
    directory = models.CharField(max_length=500, help_text="Below VAR_DIR: config, events, checkpoint, model.")
    pid = models.PositiveIntegerField(null=True, blank=True, help_text="The trainer's process, on its worker's host.")
    log_tail = models.TextField(blank=True, help_text="The last lines the trainer printed.")
    started_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="run_number_is_unique_in_its_project"),
        ]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="run_by_state")]

    def __str__(self) -> str:
        return f"run {self.number}"

    @property
    def path(self):
        return settings.VAR_DIR / self.directory

    def get_absolute_url(self) -> str:
        return reverse("run", args=[self.project.slug, self.number])


class RunEvent(models.Model):
    """One line of the trainer's events file, so that any web host can show it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    line = models.PositiveIntegerField(help_text="Its line in events.jsonl, from 1.")
    kind = models.CharField(max_length=20)
    step = models.PositiveIntegerField(null=True, blank=True)
    data = models.JSONField()

    class Meta:
        ordering = ["line"]
        constraints = [models.UniqueConstraint(fields=["run", "line"], name="event_once_per_line")]
        indexes = [models.Index(fields=["run", "kind", "step"], name="event_by_kind")]
