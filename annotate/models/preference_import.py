"""Imports: one file of comparisons that others judged, and what came of it. It can be undone as a whole."""

from django.db import models

from .people import User
from .project import Project


class PreferenceImport(models.Model):
    """The prompts, comparisons and judgements that came with the file name it as their `batch`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    number = models.PositiveIntegerField(help_text="Counted from 1 in its project.")
    file_name = models.CharField(max_length=200)
    format = models.CharField(max_length=20)
    prompts = models.PositiveIntegerField(default=0, help_text="Added.")
    comparisons = models.PositiveIntegerField(default=0, help_text="Added.")
    judgements = models.PositiveIntegerField(default=0, help_text="Added.")
    known = models.PositiveIntegerField(default=0, help_text="Judgements that were there already.")
    refused = models.PositiveIntegerField(default=0, help_text="Rows that could not be used.")
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="import_number_is_unique_in_its_project")]

    def __str__(self) -> str:
        return f"i{self.number}"

    @property
    def added_nothing(self) -> bool:
        """All of it was there already or refused: there is nothing to undo."""
        return not (self.prompts or self.comparisons or self.judgements)
