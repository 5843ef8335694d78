"""Implicit rewards of stored pairs under a version: β · log(π(y|x) / π_ref(y|x)), of both answers of a comparison."""

from django.db import models
from django.db.models import F

from annotate.models import Comparison, Project, User

from .job import Job
from .version import Version


class Scoring(Job):
    """A job that scores what a version has not scored yet, in the trainer's process."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="scorings")
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="scorings")
    beta = models.FloatField()
    left_out = models.PositiveIntegerField(default=0, help_text="Pairs that are too long for the model.")
    figures = models.JSONField(default=dict, blank=True, help_text="Accuracy and margin over all that is scored and judged.")
    started_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_unfinished_scoring_per_version",
            ),
        ]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="scoring_by_state")]

    def __str__(self) -> str:
        return f"scores of {self.version}"


class ScoreQuerySet(models.QuerySet):
    def with_margin(self):
        """`margin`: how much the version prefers the first answer, in nats times β."""
        return self.annotate(margin=F("first_reward") - F("second_reward"))


class Score(models.Model):
    """What one version holds of one comparison. Without rewards, it is too long for the model."""

    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="scores")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="scores")
    first_reward = models.FloatField(null=True)
    second_reward = models.FloatField(null=True)

    objects = ScoreQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "comparison"], name="comparison_scored_once_by_a_version")]
