"""How many requests a token, or a person in the browser, may send. Each web process counts for itself."""

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from ..models import Token


class EachToken(SimpleRateThrottle):
    """All requests: settings.API_RATE. 429 with Retry-After when there are more."""

    scope = "all"

    def get_rate(self) -> str:
        return settings.API_RATE

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        if not request.user.is_authenticated:
            return None  # refused anyway, before it costs anything
        who = f"token-{request.auth.pk}" if isinstance(request.auth, Token) else f"person-{request.user.pk}"
        return f"api-{self.scope}-{who}"


class StartsWork(EachToken):
    """Requests that give a worker something to do: settings.API_WORK_RATE."""

    scope = "work"

    def get_rate(self) -> str:
        return settings.API_WORK_RATE

    def allow_request(self, request: Request, view: APIView) -> bool:
        return request.method != "POST" or super().allow_request(request, view)
