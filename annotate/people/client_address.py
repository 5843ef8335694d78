"""Whose sign-in attempts are whose, for django-axes (AXES_CLIENT_IP_CALLABLE)."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The peer's address; behind TRUSTED_PROXIES proxies, the one the outermost of them saw.

    Each proxy appends its peer to X-Forwarded-For, so what counts is read from the right: anybody may write the rest.
    """
    peer = request.META.get("REMOTE_ADDR") or None
    seen = [peer, *reversed(request.headers.get("X-Forwarded-For", "").split(","))]
    if not 0 < settings.TRUSTED_PROXIES < len(seen):  # no proxy, or it did not come through all of them
        return peer
    return _address(seen[settings.TRUSTED_PROXIES].strip()) or peer


def _address(text: str) -> str | None:
    """Without the port that some proxies add: 192.0.2.1:4711, [2001:db8::1]:4711. None if it is no address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
