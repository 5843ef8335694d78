"""Users and the one-time links they sign in with."""

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone


class User(AbstractUser):
    """A person. Created without a usable password: the first sign-in is by link (`annotate.people.sign_in`)."""

    first_name = last_name = None
    name = models.CharField(max_length=100, blank=True, help_text="How others see you; the user name if empty.")
    is_ai = models.BooleanField(default=False, help_text="A language model that judges. It never signs in.")

    break_minutes = models.PositiveSmallIntegerField(
        "Remind me of a break after", default=50, validators=[MaxValueValidator(480)], help_text="Minutes of work. 0: never."
    )

    def get_full_name(self) -> str:
        return self.name or self.username

    get_short_name = get_full_name


class SignInLinkQuerySet(models.QuerySet):
    def usable(self):
        return self.filter(used_at=None, expires_at__gt=timezone.now(), user__is_active=True)


class SignInLink(models.Model):
    """A link that signs its user in once. Only the SHA-256 of its token is stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    token_sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    objects = SignInLinkQuerySet.as_manager()
