"""Completions: y, one answer to a prompt, with everything needed to make it again."""

from django.db import models

from .prompt import Prompt


class FinishReason(models.TextChoices):
    STOP = "stop", "Ended by itself"
    LENGTH = "length", "Cut at the limit"


class Completion(models.Model):
    """One sampled (or imported: then `version` and the sampling fields are empty) answer."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="completions")
    version = models.ForeignKey("training.Version", null=True, blank=True, on_delete=models.PROTECT, related_name="completions")
    model_name = models.CharField(max_length=200, blank=True, help_text="Who wrote an imported one. Never shown to annotators.")
    text = models.TextField()
    temperature = models.FloatField(null=True, blank=True)
    top_p = models.FloatField(null=True, blank=True)
    max_new_tokens = models.PositiveIntegerField(null=True, blank=True)
    seed = models.BigIntegerField(null=True, blank=True)
    dtype = models.CharField(max_length=20, blank=True, help_text="The precision it was computed in.")
    token_count = models.PositiveIntegerField(null=True, blank=True, help_text="With the end-of-turn token, if it came.")
    finish_reason = models.CharField(max_length=10, choices=FinishReason.choices, blank=True)
    best_of = models.PositiveSmallIntegerField(
        default=1, help_text="So many were sampled, and this is the best (or the worst) of them by implicit reward."
    )
    logprob = models.FloatField(null=True, blank=True, help_text="log π(y|x) under its version: nats, summed over tokens.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(text=""), name="completion_is_not_empty", violation_error_message="A completion needs text."
            ),
        ]
