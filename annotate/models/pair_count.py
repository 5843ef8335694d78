"""How many pairs a large project has, kept so that a page need not count them (`annotate.projects.progress`)."""

from django.db import models

from .project import Project


class PairCount(models.Model):
    """As it was last counted, and when."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="pair_count")
    judged = models.PositiveBigIntegerField()
    waiting = models.PositiveBigIntegerField()
    free = models.PositiveBigIntegerField()
    retired = models.PositiveBigIntegerField()
    counted_at = models.DateTimeField()
