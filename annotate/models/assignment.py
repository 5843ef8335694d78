"""Assignments: leases. This annotator has this comparison until then, shown in this order."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from .comparison import Comparison
from .people import User
from .scale import Grades


class AssignmentState(models.TextChoices):
    LEASED = "leased", "Leased"
    JUDGED = "judged", "Judged"
    SKIPPED = "skipped", "Skipped"
    EXPIRED = "expired", "Expired"
    SEEN = "seen", "Seen in review"  # before they judged it: see annotate.review.seen


class AssignmentQuerySet(models.QuerySet):
    def live(self):
        """Leases that still hold a place."""
        return self.filter(state=AssignmentState.LEASED, expires_at__gt=timezone.now())

    def lapsed(self):
        """Leases whose time is over but whose place has not been given back yet."""
        return self.filter(state=AssignmentState.LEASED, expires_at__lte=timezone.now())


class Assignment(models.Model):
    """`id` is what the browser knows; nothing else about the comparison's rows reaches it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(User, on_delete=models.CASCADE, related_name="assignments")
    swapped = models.BooleanField(help_text="The second completion was shown on the left (as A).")
    grades = models.PositiveSmallIntegerField(
        choices=Grades.choices, default=Grades.TWO, help_text="The scale it was shown with, whatever the project's is now."
    )
    is_gold = models.BooleanField(default=False, help_text="Handed out as a known answer: it never counts for a triple.")
    state = models.CharField(max_length=10, choices=AssignmentState.choices, default=AssignmentState.LEASED)
    leased_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    skip_reason = models.CharField(max_length=200, blank=True)
    skipped_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True, help_text="Since then they know what others said of the pair.")

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "annotator"], name="comparison_once_per_annotator"),
            models.CheckConstraint(condition=Q(state__in=AssignmentState.values), name="assignment_state_is_known"),
            models.CheckConstraint(condition=Q(grades__in=Grades.values), name="assignment_grades_are_known"),
        ]
        indexes = [
            models.Index(fields=["annotator"], condition=Q(is_gold=True), name="assignment_gold_of"),
            models.Index(fields=["expires_at"], condition=Q(state="leased"), name="assignment_lapsing"),
            models.Index(fields=["annotator", "leased_at"], condition=Q(state="leased"), name="assignment_own_leases"),
            models.Index(fields=["annotator", "comparison"], condition=Q(state="skipped"), name="assignment_skips"),
            models.Index(fields=["annotator", "-skipped_at"], condition=Q(state="skipped"), name="assignment_own_skips"),
        ]
