"""Who a program is: `Authorization: Bearer pfl_…` (`annotate.people.tokens`). A browser's session serves as well, with CSRF."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotate.people.tokens import find_token

from ..models import Token, User


class TokenAuthentication(BaseAuthentication):
    """`request.auth` is the token. Bearer authorisation that is no good is refused, whatever cookie comes with it."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        token = find_token(words[1].decode("latin-1")) if len(words) == 2 else None
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked. Make a new one on your account page.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Prefloop"'


class _Described(OpenApiAuthenticationExtension):
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A personal token, made on your account page."}
