"""Personal tokens for programs: made once, shown once, revoked for good."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotate.models import Token, User
from annotate.models.token import Scope
from annotate.text.typed import storable

PREFIX = "pfl_"  # by which people and secret scanners know one
TOKEN_BYTES = 32
SHOWN = 10  # characters of it that the list shows
USE_NOTED_EVERY = timedelta(minutes=1)
MOST_PER_PERSON = 50  # that can be used


class TokenRefused(Exception):
    """A token that was not made; the text says why and what next."""


@transaction.atomic
def create_token(*, user: User, name: str, scopes: Collection[Scope | str], days: int | None = None) -> tuple[Token, str]:
    """The row, and the token itself, which is known here and never again. Without `days` it does not expire."""
    if not scopes or not set(scopes) <= set(Scope.values):
        raise TokenRefused(f"Say what the token may do: one or more of {', '.join(Scope.values)}.")
    if not (name := storable(name).strip()):
        raise TokenRefused("Give the token a name, so that you know later what it is for.")
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if user.tokens.usable().count() >= MOST_PER_PERSON:
        raise TokenRefused(f"You have {MOST_PER_PERSON} tokens. Revoke one that you no longer need.")
    text = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token = Token.objects.create(
        user=user,
        name=name[:100],
        start=text[:SHOWN],
        sha256=_sha256(text),
        scopes=[scope.value for scope in Scope if scope in scopes],
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    return token, text


def find_token(text: str) -> Token | None:
    """The token with its user, if it can be used; its use is noted, once a minute at most."""
    token = Token.objects.usable().select_related("user").filter(sha256=_sha256(text)).first()
    if token is None:
        return None
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - USE_NOTED_EVERY:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
        Token.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return token


def revoke_token(*, token: Token) -> None:
    """From this moment nobody comes in with it. Doing it twice changes nothing."""
    Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
