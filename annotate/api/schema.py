"""The OpenAPI document: what drf-spectacular cannot see in the views, said once for all of them."""

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS

from .access import scope_of
from .once import HEADER, LONGEST


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "refused",
            value={"code": "invalid", "message": "Some fields are not valid.", "fields": {"name": ["This field is required."]}},
        )
    ]
)
class ErrorOut(serializers.Serializer):
    """The one shape of an error."""

    code = serializers.CharField(help_text="For programs.")
    message = serializers.CharField(help_text="For people: what, and what next.")
    fields = serializers.DictField(help_text="What is wrong with each field of the request, if that is it.")


REFUSALS = {
    400: "Something in the request is not valid; `fields` says what.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "Your role or the token's scopes do not allow this.",
    404: "No such thing, or it is not yours to see.",
    409: "Right, but not now: the message says what stands against it.",
    413: "The request is larger than 5 MB.",
    415: "The body is not JSON.",
    422: f"The {HEADER} came with another request before.",
    429: "Too many requests. `Retry-After` says in how many seconds there may be more.",
}


class Schema(AutoSchema):
    """Each operation with its refusals, its scope, and the headers it understands."""

    def get_operation_id(self) -> str:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self.view).__name__.removesuffix("View")).lower()
        return f"{self.method.lower()}_{name}"

    def get_tags(self) -> list[str]:
        if about := getattr(self.view, "about", ""):
            return [about]
        words = [word for word in self.path.removeprefix("/api/v1/").split("/") if word and "{" not in word]
        return [words[1] if len(words) > 1 and words[1] != "archive" else words[0]]

    def get_description(self) -> str:
        """The method's docstring, else the view's, and the scope."""
        method = getattr(self.view, self.method.lower(), None)
        text = (getattr(method, "__doc__", None) or type(self.view).__doc__ or "").strip()
        text = re.sub(r"\n {4,}", "\n", text)
        return f"{text}\n\nScope: `{scope_of(self.method, self.view)}`.".strip()

    def get_override_parameters(self) -> list[Any]:
        found = list(super().get_override_parameters())
        if self.method == "POST" and getattr(self.view, "keeps_answers", False):
            text = "Sent again with the same key within 24 hours, the request does nothing more and has the same answer."
            found.append(OpenApiParameter(HEADER, {"type": "string", "maxLength": LONGEST}, "header", description=text))
        if getattr(self.view, "has_etag", False) and self.method in SAFE_METHODS:
            found.append(
                OpenApiParameter("If-None-Match", str, "header", description="The `ETag` you have: 304 if nothing has changed.")
            )
        return found

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        if getattr(self.view, "has_etag", False) and self.method in SAFE_METHODS:
            bodies["304"] = {"description": "Nothing has changed since the `ETag` that was sent."}
        for status in self._refusals():
            if str(status) not in bodies:
                bodies[str(status)] = self._get_response_for_code(ErrorOut, str(status)) | {"description": REFUSALS[status]}
        return bodies

    def _refusals(self) -> list[int]:
        looks = self.method in SAFE_METHODS
        with_body = self.method in ("POST", "PATCH", "PUT")
        return [400, 401, 403, 404, *([] if looks else [409]), *([413, 415] if with_body else []),
                *([422] if self.method == "POST" else []), 429]  # fmt: skip


def paged(out: type[serializers.Serializer]) -> serializers.Serializer:
    """A page of a list, as `base.page_of` answers it."""
    fields = {
        "results": out(many=True),
        "next": serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null after the last."),
    }
    return inline_serializer(name=f"{out.__name__}Page", fields=fields)
