"""The leaderboard of a project as it was counted last: a worker does it, the page only shows it."""

from django.db import models

from annotate.models import Project


class Leaderboard(models.Model):
    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="leaderboard")
    seen = models.CharField(
        max_length=100, help_text="What stood in the database then (`training.leaderboard.counting.fingerprint`)."
    )
    battles = models.PositiveIntegerField(help_text="Judgements of two answers by different, known authors.")
    prompts = models.PositiveIntegerField()
    unknown = models.PositiveIntegerField(default=0, help_text="Judgements left out: nobody knows who wrote one of the answers.")
    rows = models.JSONField(help_text="Best first (`training.leaderboard.counting.Row`).")
    seconds = models.FloatField(help_text="What it took.")
    counted_at = models.DateTimeField(auto_now=True)
