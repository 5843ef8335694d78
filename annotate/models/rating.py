"""Ratings: thumbs up or down on one answer by itself. The row is made when the answer is shown, and answered once."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from .completion import Completion
from .people import User
from .preference_import import PreferenceImport


class RatingQuerySet(models.QuerySet):
    def given(self):
        return self.exclude(good=None)

    def open(self):
        """Shown, and neither answered nor skipped."""
        return self.filter(good=None, skipped_at=None)


class Rating(models.Model):
    """`id` is all that the browser knows of the answer it shows."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="ratings")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="ratings")
    good = models.BooleanField(null=True, blank=True, help_text="None: not answered yet.")
    seconds = models.FloatField(null=True, blank=True)
    shown_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)
    skipped_at = models.DateTimeField(null=True, blank=True)
    batch = models.ForeignKey(PreferenceImport, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = RatingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["completion", "annotator"], name="answer_is_rated_once_per_person"),
            models.CheckConstraint(
                condition=Q(good=None, answered_at=None) | Q(good__isnull=False, answered_at__isnull=False, skipped_at=None),
                name="rating_is_answered_or_not",
            ),
        ]
        indexes = [models.Index(fields=["annotator", "-answered_at"], name="rating_own_latest")]
