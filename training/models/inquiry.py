"""Inquiries: what a program asks a version, to be answered by a worker: answers to prompts, or scores of answers."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotate.models import Project, User

from .job import Job, JobQuerySet
from .version import Version

KEPT = timedelta(days=7)


class InquiryKind(models.TextChoices):
    GENERATE = "generate", "Answers to prompts"
    SCORE = "score", "Scores of answers"


class InquiryQuerySet(JobQuerySet):
    def forgotten(self):
        """Over for so long that whoever asked has the answer."""
        return self.filter(finished_at__lt=timezone.now() - KEPT)


class Inquiry(Job):
    """Nothing of it enters the project: no prompt, no completion. It is deleted after KEPT."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="inquiries")
    kind = models.CharField(max_length=10, choices=InquiryKind.choices)
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="inquiries")
    asked = models.JSONField()
    answer = models.JSONField(default=list)
    by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")

    objects = InquiryQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(kind__in=InquiryKind.values), name="inquiry_kind_is_known")]
        indexes = [
            models.Index(fields=["state", "heartbeat_at"], name="inquiry_by_state"),
            models.Index(fields=["finished_at"], name="inquiry_by_end"),
        ]
