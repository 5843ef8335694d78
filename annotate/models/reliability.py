"""Reliability: the newest estimate of how often each person of a project is right."""

from django.db import models
from django.utils import timezone

from .project import Project


class ReliabilityEstimate(models.Model):
    """What `annotate.quality.reliability` has estimated, and from what. A newer one takes its place."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="reliability")
    made_at = models.DateTimeField(default=timezone.now)
    mark = models.CharField(max_length=100, help_text="Another one now: judgements have come or gone since.")
    judgements = models.PositiveIntegerField(default=0)
    priors = models.JSONField(default=dict, help_text="The share of each true answer.")
    errors = models.JSONField(default=dict, help_text="person → answer given → true answer → probability")
    judged = models.JSONField(default=dict, help_text="person → how many judgements it rests on")
