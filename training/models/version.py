"""Model versions and the history of which one served."""

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from annotate.models import Project, User

from .endpoint import Endpoint

ADDED = "added"  # why a base model serves that was to serve at once


class VersionQuerySet(models.QuerySet):
    def of(self, project: Project):
        return self.filter(project=project).order_by("-number")

    def trainable(self):
        """Those whose weights are here: an endpoint generates and is evaluated, but cannot be trained."""
        return self.filter(endpoint=None, removal_asked_at=None)

    def present(self):
        """Those that can still answer: their files are not gone, nor about to be."""
        return self.filter(removal_asked_at=None)


class Version(models.Model):
    """One policy: a model directory or an endpoint, its parent, its run, its metrics. It never changes once made."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(help_text="0 is the base; unique in the project.")
    name = models.CharField(max_length=200)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    run = models.OneToOneField("training.Run", null=True, blank=True, on_delete=models.PROTECT, related_name="version")
    directory = models.CharField(max_length=500, blank=True, help_text="Below VAR_DIR; of an endpoint empty.")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="versions")
    serve_dtype = models.CharField(max_length=20, blank=True, help_text="The precision that keeps what was trained.")
    metrics = models.JSONField(default=dict, blank=True)
    answered_until = models.BigIntegerField(
        null=True, blank=True, help_text="Key of the newest prompt when the clock last found all answered, of very many."
    )
    describing_at = models.DateTimeField(null=True, blank=True, help_text="When a worker last showed that it measures it.")
    size_bytes = models.BigIntegerField(default=0)
    parameters = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    notes = models.TextField(blank=True, help_text="What people want to remember of it.")
    tags = models.JSONField(default=list, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True, help_text="Out of the way; nothing is lost.")
    removal_asked_at = models.DateTimeField(null=True, blank=True, help_text="A worker deletes its files.")
    removed_at = models.DateTimeField(null=True, blank=True, help_text="Its files are gone; what is known of it stays.")

    objects = VersionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="version_number_is_unique_in_its_project"),
            models.CheckConstraint(condition=~Q(parent=models.F("id")), name="version_is_not_its_own_parent"),
            models.CheckConstraint(
                condition=Q(endpoint=None) & ~Q(directory="") | Q(endpoint__isnull=False, directory=""),
                name="version_is_a_directory_or_an_endpoint",
            ),
            models.UniqueConstraint(fields=["endpoint"], condition=Q(endpoint__isnull=False), name="one_version_per_endpoint"),
        ]

    def __str__(self) -> str:
        return f"v{self.number}"

    @property
    def path(self) -> Path:
        """Its model directory. Only of one that has weights: never ask for an endpoint's."""
        if not self.directory:
            raise ValueError(f"{self} is an endpoint and has no directory.")
        return settings.VAR_DIR / self.directory

    @property
    def is_removed(self) -> bool:
        """Its files are gone, or about to be."""
        return self.removal_asked_at is not None

    @property
    def is_endpoint(self) -> bool:
        return self.endpoint_id is not None

    @property
    def is_described(self) -> bool:
        """Its samples and figures are there (`training.versions.description`)."""
        return "described_at" in self.metrics

    def get_absolute_url(self) -> str:
        return reverse("version", args=[self.project.slug, self.number])


class VersionAlias(models.Model):
    """A name that moves from version to version: "best". The one that serves is told by `Promotion`, not by an alias."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="aliases")
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=40)
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="alias_is_unique_in_its_project"),
            models.CheckConstraint(condition=~Q(name="serving"), name="alias_is_not_serving"),
        ]

    def __str__(self) -> str:
        return self.name


class Promotion(models.Model):
    """One line of the serving history. The newest one of a project names its serving version."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="promotions")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="promotions")
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    why = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    @property
    def in_words(self) -> str:
        if self.why == ADDED:
            return f"served as soon as {self.by.get_full_name()} added it" if self.by else "served as soon as it was added"
        what = f"made to serve by {self.by.get_full_name()}" if self.by else "began to serve"
        return f"{what}: {self.why}" if self.why else what
