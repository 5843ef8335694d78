"""Webhooks: addresses that are told what happens in a project, and what was sent to them."""

import secrets

from django.db import models
from django.db.models import Q
from django.utils import timezone

from .people import User
from .project import Project


class Event(models.TextChoices):
    JUDGEMENTS = "judgements.reached", "Every so many judgements"
    RUN = "run.finished", "A run is done, failed or cancelled"
    PROMOTION = "version.promoted", "A version starts to serve"


def make_salt() -> str:
    return secrets.token_hex(16)


class WebhookQuerySet(models.QuerySet):
    def active(self):
        return self.filter(removed_at=None, paused=False, project__archived_at=None)


class Webhook(models.Model):
    """Its secret follows from `salt` and SECRET_KEY (`annotate.outgoing.webhooks.secret_of`): none is stored."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    events = models.JSONField()
    every = models.PositiveIntegerField(default=100, help_text="Judgements from one notice to the next.")
    counted_from = models.PositiveIntegerField(default=0, help_text="Judgements that stood when it was made: not told.")
    salt = models.CharField(max_length=32, default=make_salt)
    paused = models.BooleanField(default=False)
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(every__gte=1), name="webhook_counts_judgements", violation_error_message="At least one judgement."
            )
        ]


class DeliveryState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    DONE = "done", "Delivered"
    FAILED = "failed", "Given up"


class DeliveryQuerySet(models.QuerySet):
    def due(self):
        return self.filter(state=DeliveryState.WAITING, next_try_at__lte=timezone.now(), webhook__removed_at=None)


class Delivery(models.Model):
    """One event on its way to one address. It is there exactly once, whoever looks and how often."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=30, choices=Event.choices)
    subject = models.CharField(max_length=40, help_text="What it is about: a run's number, a promotion, a count.")
    body = models.TextField()
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    tried_at = models.DateTimeField(null=True, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Of the latest answer.")
    said = models.CharField(max_length=500, blank=True, help_text="The beginning of the latest answer, or what went wrong.")
    milliseconds = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["webhook", "event", "subject"], name="event_is_told_once_per_webhook"),
            models.CheckConstraint(condition=Q(state__in=DeliveryState.values), name="delivery_state_is_known"),
        ]
        indexes = [models.Index(fields=["next_try_at"], condition=Q(state="waiting"), name="delivery_due")]
