"""Hand-outs: a batch of comparisons that a manager has given to named people."""

from django.db import models
from django.db.models import Q

from .people import User
from .project import Project


class Handout(models.Model):
    """Until it is released, its comparisons come first for these people, and to nobody else."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="handouts")
    number = models.PositiveIntegerField(help_text="Counted from 1 in its project.")
    name = models.CharField(max_length=100)
    size = models.PositiveIntegerField(help_text="Comparisons that were given.")
    people = models.ManyToManyField(User, related_name="handouts")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="handout_number_is_unique_in_its_project"),
            models.CheckConstraint(condition=~Q(name=""), name="handout_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name
