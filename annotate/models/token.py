"""Personal tokens: how a person's programs sign in to the API. Only the SHA-256 of a token is stored."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from .people import User


class Scope(models.TextChoices):
    """What a token may do at most. It never may more than its person's role in a project."""

    READ = "read", "Look: everything your role may see"
    JUDGE = "judge", "Judge: get comparisons and answer them"
    MANAGE = "manage", "Manage: prompts, members, settings, runs, versions"


class TokenQuerySet(models.QuerySet):
    def usable(self):
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True)


class Token(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, help_text="What it is for.")
    start = models.CharField(max_length=12, help_text="Its first characters, by which it is known again.")
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="token_has_a_name")]

    def allows(self, scope: Scope | str) -> bool:
        return scope in self.scopes

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and not self.has_expired

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def scopes_in_words(self) -> str:
        return ", ".join(Scope(each).label.partition(":")[0].lower() for each in self.scopes)
