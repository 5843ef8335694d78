"""Figures of quality, kept so that a page need not read every judgement (`annotate.quality.counts`)."""

from django.db import models
from django.utils import timezone

from .project import Project


class QualityCount(models.Model):
    """The tally of all judgements of a project, and up to where they have been read."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="quality_count")
    tally = models.JSONField(default=dict, help_text="Of `annotate.quality.tallies`, with the skips of each person.")
    running = models.JSONField(default=dict, help_text="The tally of all blocks as they are; empty: not added up yet.")
    counted_at = models.DateTimeField(null=True, blank=True, help_text="When `tally` was true of everything.")
    counted_newest = models.BigIntegerField(default=0, help_text="Judgements with greater keys are not in `tally`.")
    looked_at = models.DateTimeField(null=True, blank=True, help_text="Up to when withdrawals and restorations are in.")
    newest_judgement = models.BigIntegerField(default=0, help_text="Up to which key judgements are in.")
    blocks_left = models.JSONField(default=list, help_text="Blocks that are still to be read.")


class QualityBlock(models.Model):
    """The tally of a project's comparisons whose ids lie in one block."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="quality_blocks")
    number = models.PositiveBigIntegerField(help_text="Of the comparison's id, without its last three digits.")
    tally = models.JSONField()
    read_at = models.DateTimeField(default=timezone.now, help_text="When reading it began: what changed later makes it due.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="one_quality_block_per_number")]
