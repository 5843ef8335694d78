"""AI annotators: members that are language models. What judges, by which rubric and protocol, and what it said."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from annotate.models import Completion, Judgement, Project, User

from .endpoint import Endpoint, Metered
from .job import Job
from .version import Version


class AiAnnotator(models.Model):
    """Judges pairs by its rubric. Each pair is shown to it in both orders, and it has chosen only if both say the same."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="ai_annotators")
    user = models.OneToOneField(User, on_delete=models.PROTECT, related_name="ai_annotator")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="ai_annotators")
    version = models.ForeignKey(Version, null=True, blank=True, on_delete=models.PROTECT, related_name="ai_annotators")
    gives_reasons = models.BooleanField(default=False, help_text="It writes a short reason before its verdict.")
    uses_logprobs = models.BooleanField(default=True, help_text="Its certainty, from log-probabilities, is the strength.")
    temperature = models.FloatField(default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(2.0)])
    is_on = models.BooleanField(default=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(endpoint=None, version__isnull=False) | Q(endpoint__isnull=False, version=None),
                name="ai_annotator_is_an_endpoint_or_a_version",
                violation_error_message="Choose an endpoint or a version, not both.",
            ),
            models.CheckConstraint(
                condition=~Q(gives_reasons=True, uses_logprobs=True),
                name="ai_annotator_reasons_or_weighs",
                violation_error_message="Certainty is read where the verdict stands first: choose it, or a reason before it.",
            ),
        ]

    def __str__(self) -> str:
        return self.user.get_full_name()

    @property
    def rubric(self) -> "Rubric":
        """The edition it judges by now."""
        return self.rubrics.order_by("-number").first()

    @property
    def speaker(self) -> Endpoint | Version:
        return self.endpoint or self.version

    @property
    def source(self) -> Endpoint | Version:
        """What is asked: the endpoint itself, also where a version stands for it."""
        return self.endpoint or self.version.endpoint or self.version


class Rubric(models.Model):
    """One edition of what an AI annotator is told to look at, in Markdown. It never changes; the next one has the next number."""

    annotator = models.ForeignKey(AiAnnotator, on_delete=models.CASCADE, related_name="rubrics")
    number = models.PositiveIntegerField()
    text = models.TextField()
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["annotator", "number"], name="rubric_number_is_unique")]


class Sitting(Metered, Job):
    """A job: an AI annotator judges what the queue has for it, up to `total` pairs."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="sittings")
    annotator = models.ForeignKey(AiAnnotator, on_delete=models.CASCADE, related_name="sittings")
    divided = models.PositiveIntegerField(default=0, help_text="Pairs of which it preferred another in the other order: ties.")
    skipped = models.PositiveIntegerField(default=0, help_text="Pairs of which its answer could not be read.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["annotator"], condition=Q(state__in=["queued", "running"]), name="one_unfinished_sitting_per_ai_annotator"
            ),
        ]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="sitting_by_state")]


class Choice(models.TextChoices):
    """In stored order, like an outcome."""

    FIRST = "first", "First"
    SECOND = "second", "Second"
    TIE = "tie", "Tie"


class AiVerdict(models.Model):
    """What an AI annotator's judgement rests on. `shown_first` is what it said with the stored first answer shown as A,
    `shown_second` with the stored second one as A."""

    judgement = models.OneToOneField(Judgement, on_delete=models.CASCADE, related_name="ai_verdict")
    rubric = models.ForeignKey(Rubric, on_delete=models.PROTECT, related_name="verdicts")
    sitting = models.ForeignKey(Sitting, on_delete=models.PROTECT, related_name="verdicts")
    shown_first = models.CharField(max_length=6, choices=Choice.choices)
    shown_second = models.CharField(max_length=6, choices=Choice.choices)
    preference = models.FloatField(
        null=True, blank=True, help_text="The probability that the first is better, the mean of both orders; null: not offered."
    )
    answers = models.JSONField(default=list, help_text="What it wrote, in both orders.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(preference=None) | Q(preference__gte=0, preference__lte=1), name="ai_preference_is_a_share"
            ),
        ]


class AiScore(models.Model):
    """What an AI annotator gives one answer by itself, from 1 to 10, by an edition of its rubric (ai/direct_scores.py)."""

    annotator = models.ForeignKey(AiAnnotator, on_delete=models.CASCADE, related_name="scores")
    rubric = models.ForeignKey(Rubric, on_delete=models.PROTECT, related_name="scores")
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="ai_scores")
    value = models.FloatField()
    is_expectation = models.BooleanField(help_text="The mean over the probabilities of 1 to 10; else the number it wrote.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["completion", "rubric"], name="ai_score_once_per_edition"),
            models.CheckConstraint(condition=Q(value__gte=1, value__lte=10), name="ai_score_is_from_1_to_10"),
        ]
