"""Judgements: one annotator's answer to one comparison."""

import uuid

from django.db import models
from django.db.models import Q

from .assignment import Assignment
from .comparison import Comparison
from .guidelines import GuidelinesEdition
from .people import User
from .preference_import import PreferenceImport
from .voters import by_voters


class Outcome(models.TextChoices):
    """In stored order: `first` means Comparison.first was better, wherever it stood on the screen."""

    FIRST = "first", "First is better"
    SECOND = "second", "Second is better"
    TIE = "tie", "Equally good"
    BOTH_BAD = "both_bad", "Both bad"

    @property
    def swapped(self) -> "Outcome":
        return {Outcome.FIRST: Outcome.SECOND, Outcome.SECOND: Outcome.FIRST}.get(self, self)


class JudgementQuerySet(models.QuerySet):
    def standing(self):
        """Not withdrawn: these count."""
        return self.filter(withdrawn_at=None)

    def for_training(self):
        """Not given to a known answer: only these say what people prefer, whatever their comparison is by now."""
        return self.filter(assignment__is_gold=False)

    def voting(self):
        """Standing, and of somebody whose judgements count."""
        return self.standing().filter(by_voters())


class Judgement(models.Model):
    """`key` is made by the client: a second request with it finds this row and adds none."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="judgements")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="judgements")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="judgements")
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    strength = models.PositiveSmallIntegerField(default=1, help_text="From 1, by the assignment's grades. 0: tie, both bad.")
    rationale = models.TextField(blank=True)
    flags = models.JSONField(default=list, blank=True)
    edited_text = models.TextField(blank=True, help_text="The better answer, improved by hand.")
    seconds = models.FloatField(null=True, blank=True, help_text="Time on task while the page was visible.")
    late = models.BooleanField(default=False, help_text="It came after the lease had expired; kept all the same.")
    guidelines = models.ForeignKey(
        GuidelinesEdition,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="What they had read by then.",
    )
    batch = models.ForeignKey(PreferenceImport, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    replaces = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="replaced_by",
        help_text="Changed: the answer before.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = JudgementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(withdrawn_at=None), name="one_standing_judgement_per_assignment"
            ),
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="judgement_outcome_is_known"),
            models.CheckConstraint(
                condition=Q(outcome__in=["first", "second"], strength__gte=1) | Q(outcome__in=["tie", "both_bad"], strength=0),
                name="judgement_strength_fits_outcome",
            ),
        ]
        indexes = [
            models.Index(fields=["annotator", "-created_at"], name="judgement_own_latest"),
            models.Index(fields=["withdrawn_at"], condition=Q(withdrawn_at__isnull=False), name="judgement_withdrawn"),
        ]
