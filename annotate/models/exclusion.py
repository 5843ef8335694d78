"""Exclusions: a person's judgements that no future dataset of the project holds, until somebody lifts it."""

from django.db import models
from django.db.models import Q

from .people import User
from .project import Project


class ExclusionQuerySet(models.QuerySet):
    def standing(self):
        return self.filter(lifted_at=None)


class Exclusion(models.Model):
    """Of all the person's judgements in the project, those to come as well. Rows stay: who, when, why, and how it ended."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="exclusions")
    person = models.ForeignKey(User, on_delete=models.PROTECT, related_name="exclusions")
    why = models.TextField()
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = ExclusionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "person"], condition=Q(lifted_at=None), name="one_standing_exclusion_per_person_and_project"
            ),
        ]
