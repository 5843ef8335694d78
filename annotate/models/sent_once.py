"""Requests that carry an Idempotency-Key, with the answer that each was given."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

from .people import User

KEPT = timedelta(hours=24)


class SentOnceQuerySet(models.QuerySet):
    def forgotten(self):
        """Old enough to be deleted: the same key is a new request again."""
        return self.filter(created_at__lt=timezone.now() - KEPT)


class SentOnce(models.Model):
    """Written in the transaction of what the request did, so there is never one without the other."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64, help_text="Of method, address and body.")
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = SentOnceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="key_is_sent_once_per_person")]
