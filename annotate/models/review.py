"""Review: comparisons in dispute, and what a manager decided about them."""

from django.db import models
from django.db.models import F, Q

from .comparison import Comparison
from .judgement import Judgement, Outcome
from .people import User
from .project import Project
from .scale import Grades


class Reason(models.TextChoices):
    """Why a comparison is in dispute. Each value is a field of `Dispute`."""

    DISAGREEMENT = "disagreement", "People disagree"
    LOW_CONFIDENCE = "low_confidence", "Low confidence"
    FLAGGED = "flagged", "Flagged"
    AGAINST_REWARD = "against_reward", "Against the model"


class DisputeQuerySet(models.QuerySet):
    def waiting(self, reason: str = ""):
        """Those that nobody has decided on, of one reason or of all. Answered by an index."""
        return self.filter(handled_at=None, **({reason: True} if reason else {}))


class Dispute(models.Model):
    """A training comparison that a manager should look at; at least one of its reasons holds (`annotate.review.disputes`)."""

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="dispute")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="disputes")
    disagreement = models.BooleanField(default=False, help_text="It has all its judgements, and no answer has most of them.")
    low_confidence = models.BooleanField(default=False, help_text="The likeliest answer is not likely enough.")
    flagged = models.BooleanField(default=False, help_text="A judgement that stands carries a flag.")
    against_reward = models.BooleanField(default=False, help_text="A strong judgement contradicts the serving version's reward.")
    confidence = models.FloatField(null=True, blank=True, help_text="Probability of the likeliest answer, when last estimated.")
    found_at = models.DateTimeField(auto_now_add=True)
    handled_at = models.DateTimeField(null=True, blank=True, help_text="When a manager last decided on it.")

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(disagreement=True) | Q(low_confidence=True) | Q(flagged=True) | Q(against_reward=True),
                name="dispute_has_a_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "comparison"], condition=Q(handled_at=None), name="dispute_waiting"),
            *(
                models.Index(
                    fields=["project", "comparison"], condition=Q(("handled_at", None), (reason, True)), name=f"dispute_{reason}"
                )
                for reason in Reason.values
            ),
        ]

    @property
    def reasons(self) -> list[Reason]:
        return [reason for reason in Reason if getattr(self, reason.value)]


class DecisionKind(models.TextChoices):
    SETTLED = "settled", "Settled"
    ASKED_MORE = "asked_more", "Sent for more judgements"
    WITHDREW = "withdrew", "Judgement withdrawn"
    LEFT = "left", "Left as it is"


class DecisionQuerySet(models.QuerySet):
    def standing(self):
        return self.filter(taken_back_at=None)

    def settlements(self):
        """What wins over the judgements: one at most for each comparison."""
        return self.standing().filter(kind=DecisionKind.SETTLED)


class Decision(models.Model):
    """What a manager decided about a comparison, and why. Rows stay; one that is taken back says when and by whom."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="decisions")
    kind = models.CharField(max_length=10, choices=DecisionKind.choices)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True, help_text="Of a settlement.")
    strength = models.PositiveSmallIntegerField(default=0, help_text="Of a settlement, by `grades`. 0: tie, both bad.")
    grades = models.PositiveSmallIntegerField(choices=Grades.choices, default=Grades.TWO)
    more = models.PositiveSmallIntegerField(default=0, help_text="How many judgements were asked for besides.")
    judgement = models.ForeignKey(Judgement, null=True, blank=True, on_delete=models.PROTECT, related_name="decisions")
    why = models.TextField(blank=True)
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    taken_back_at = models.DateTimeField(null=True, blank=True)
    taken_back_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = DecisionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison"],
                condition=Q(kind="settled", taken_back_at=None),
                name="one_standing_settlement_per_comparison",
            ),
            models.CheckConstraint(condition=Q(kind__in=DecisionKind.values), name="decision_kind_is_known"),
            models.CheckConstraint(
                condition=Q(kind="settled", outcome__in=["first", "second"], strength__gte=1, strength__lte=F("grades") / 2)
                | Q(kind="settled", outcome__in=["tie", "both_bad"], strength=0)
                | (~Q(kind="settled") & Q(outcome="", strength=0)),
                name="decision_outcome_fits_its_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind="withdrew", judgement__isnull=False) | (~Q(kind="withdrew") & Q(judgement=None)),
                name="decision_names_the_judgement_it_withdrew",
            ),
        ]
