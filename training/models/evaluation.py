"""Blind evaluations: two versions answer the same held-out prompts, and the annotators say who does it better.

As a job, an evaluation lasts until all answers are written. Then its comparisons are in the queue, among all others, and it is
open until its verdict is there.
"""

from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from annotate.models import Comparison, Completion, Project, Prompt, User

from .job import Job, JobQuerySet, JobState
from .version import Version


class Verdict(models.TextChoices):
    NONE = "", "Open"
    PASSED = "passed", "Passes the bar"
    MISSED = "missed", "Cannot pass the bar"
    UNDECIDED = "undecided", "Undecided"
    STOPPED = "stopped", "Stopped by hand"


OPEN = Q(state__in=[JobState.QUEUED, JobState.RUNNING]) | Q(state=JobState.DONE, verdict=Verdict.NONE)


class EvaluationQuerySet(JobQuerySet):
    def open(self):
        """Answers are being written, or judged."""
        return self.filter(OPEN)

    def being_judged(self):
        return self.filter(state=JobState.DONE, verdict=Verdict.NONE)


class Evaluation(Job):
    """`candidate` against `opponent`, by the project's sampling settings as they were when it was asked for."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="evaluations")
    number = models.PositiveIntegerField()
    candidate = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="evaluations")
    opponent = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="evaluations_against")
    best_of = models.PositiveSmallIntegerField(
        default=1, help_text="The candidate's answer is the best of so many by implicit reward; the opponent's is one."
    )
    prompts_wanted = models.PositiveIntegerField()
    temperature = models.FloatField()
    top_p = models.FloatField()
    max_new_tokens = models.PositiveIntegerField()
    bar = models.FloatField(help_text="The lower bound of the win rate must pass it.")
    promotes = models.BooleanField(default=False, help_text="The candidate starts to serve when it passes.")
    left_out = models.PositiveIntegerField(default=0, help_text="Prompts without two answers that can be judged blindly.")
    started_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.NONE, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True, help_text="What the verdict rests on.")

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="evaluation_number_is_unique_in_its_project"),
            models.UniqueConstraint(
                fields=["candidate", "opponent", "best_of"],
                condition=OPEN,
                name="one_open_evaluation_of_two_versions",
                violation_error_message="These two are being compared already.",
            ),
            models.CheckConstraint(
                condition=~Q(candidate=F("opponent")) | Q(best_of__gt=1),
                name="evaluation_of_two_policies",
                violation_error_message="A version can only be compared with another one, or its best of several with one.",
            ),
            models.CheckConstraint(condition=Q(best_of__gte=1), name="evaluation_best_of_at_least_one"),
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="evaluation_verdict_is_known"),
        ]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="evaluation_by_state")]

    def __str__(self) -> str:
        return f"evaluation {self.number}"

    @property
    def is_open(self) -> bool:
        return self.state in (JobState.QUEUED, JobState.RUNNING) or self.is_judged

    @property
    def is_judged(self) -> bool:
        """Its comparisons are with the annotators."""
        return self.state == JobState.DONE and not self.verdict

    @property
    def candidate_name(self) -> str:
        return f"{self.candidate}, best of {self.best_of}" if self.best_of > 1 else str(self.candidate)

    def get_absolute_url(self) -> str:
        return reverse("evaluation", args=[self.project.slug, self.number])


class EvaluationPair(models.Model):
    """Both answers to one prompt. Without a comparison they are the same: a tie, of which nobody needs to be asked."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="pairs")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="+")
    candidate = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    opponent = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    comparison = models.OneToOneField(Comparison, null=True, blank=True, on_delete=models.CASCADE, related_name="evaluation_pair")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["evaluation", "prompt"], name="evaluation_has_a_prompt_once")]
