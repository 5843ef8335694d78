"""Datasets: immutable snapshots of triples."""

from django.conf import settings
from django.db import models

from annotate.models import Judgement, Project, User


class Dataset(models.Model):
    """Two JSONL files (train, held out) in TRL's conversational form, their SHA-256, counts, and what made them."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets")
    number = models.PositiveIntegerField()
    directory = models.CharField(max_length=500, help_text="Below VAR_DIR; holds train.jsonl and heldout.jsonl.")
    train_sha256 = models.CharField(max_length=64)
    heldout_sha256 = models.CharField(max_length=64)
    train_count = models.PositiveIntegerField()
    heldout_count = models.PositiveIntegerField()
    counts = models.JSONField(help_text="What gave no triple, by reason: ties, both bad, disagreement, …")
    filters = models.JSONField(help_text="The consensus rule and everything else that chose the triples.")
    judgements = models.ManyToManyField(Judgement, related_name="datasets")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="dataset_number_is_unique_in_its_project"),
        ]

    def __str__(self) -> str:
        return f"d{self.number}"

    @property
    def path(self):
        return settings.VAR_DIR / self.directory
