"""Invitations: links by which people join a project by themselves, until a day, so many times."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .people import User
from .project import Project, Role


class InvitationQuerySet(models.QuerySet):
    def usable(self):
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), uses__lt=F("uses_allowed"))


class Invitation(models.Model):
    """Only the SHA-256 of the link's token is stored: the link is shown once, when it is made."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    number = models.PositiveIntegerField(help_text="Counted from 1 in its project.")
    token_sha256 = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.ANNOTATOR)
    uses_allowed = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=100, blank=True, help_text="For whom it is.")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="invitation_number_is_unique_in_its_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitation_role_is_known"),
            models.CheckConstraint(condition=Q(uses__lte=F("uses_allowed")), name="invitation_is_never_overused"),
        ]

    @property
    def state(self) -> str:
        """In a word: "open", or why it opens nothing any more."""
        if self.revoked_at:
            return "revoked"
        if self.uses >= self.uses_allowed:
            return "used up"
        return "open" if self.expires_at > timezone.now() else "expired"
