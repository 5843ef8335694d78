"""What a dataset made now would hold, kept for projects that hold too much to be counted for each page."""

from django.db import models

from annotate.models import Project

from .dataset import Dataset


class PreviewCount(models.Model):
    """Of all judged pairs, as it was last counted (`training.datasets.kept_previews`)."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="preview_count")
    rules = models.CharField(max_length=64, help_text="A hash of how judgements became triples.")
    since = models.ForeignKey(
        Dataset, null=True, on_delete=models.SET_NULL, related_name="+", help_text="A judgement that it does not hold is new."
    )
    figures = models.JSONField()
    counted_at = models.DateTimeField(help_text="When it was true.")


class PreviewBlock(models.Model):
    """Of the pairs of one block of `annotate.quality.counts`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="preview_blocks")
    number = models.PositiveBigIntegerField()
    rules = models.CharField(max_length=64)
    since = models.ForeignKey(Dataset, null=True, on_delete=models.SET_NULL, related_name="+")
    figures = models.JSONField()
    read_at = models.DateTimeField(help_text="When reading it began.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="one_preview_block_per_number")]
