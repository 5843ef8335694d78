"""Guidelines: what counts as the better answer. Each change is an edition; none is ever overwritten."""

from django.db import models

from .people import User


class GuidelinesEdition(models.Model):
    """The whole text as it was from `created_at` until the next edition. A judgement names the one its annotator had read."""

    project = models.ForeignKey("Project", on_delete=models.CASCADE, related_name="guidelines_editions")
    number = models.PositiveIntegerField(help_text="Counted from 1 in its project.")
    text = models.TextField(blank=True)
    why = models.CharField(max_length=200, blank=True, help_text="What changed, in the words of who changed it.")
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="guidelines_edition_number_is_unique")]

    def __str__(self) -> str:
        return f"edition {self.number}"
