"""One-time links: how a person signs in first, or again without a password."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from annotate.models import SignInLink, User

TOKEN_BYTES = 32


def create_sign_in_link(*, user: User, hours: float | None = None) -> str:
    """The whole address of a page that signs `user` in once, within `hours` (SIGN_IN_LINK_HOURS by default).

    It is shown here and never again: the database holds only the SHA-256 of its token.
    """
    hours = settings.SIGN_IN_LINK_HOURS if hours is None else hours
    if not hours > 0:
        raise ValueError(f"A sign-in link that lasts {hours} hours could never be used.")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    SignInLink.objects.create(user=user, token_sha256=sha256_of(token), expires_at=timezone.now() + timedelta(hours=hours))
    return settings.BASE_URL + reverse("sign_in_link", args=[token])


@transaction.atomic
def redeem(*, token: str) -> User | None:
    """The link's user, the first time; None when it is used, too old, unknown, or its user may no longer sign in."""
    link = SignInLink.objects.usable().select_related("user").filter(token_sha256=sha256_of(token)).first()
    # Of two requests at once, only one finds the row still unused: the database checks it again as it writes.
    if link and SignInLink.objects.filter(pk=link.pk, used_at=None).update(used_at=timezone.now()):
        return link.user
    return None


def sha256_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
