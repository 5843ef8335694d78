"""Who one is to the API, and what the API is: the OpenAPI document and a page to read it."""

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ..models import Token
from .access import SignedIn
from .base import ApiView
from .reference import sections_of


class TokenOut(serializers.Serializer):
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)


class MembershipOut(serializers.Serializer):
    project = serializers.CharField(source="project.slug")
    role = serializers.CharField()


class MeOut(serializers.Serializer):
    username = serializers.CharField()
    name = serializers.CharField(source="get_full_name")
    memberships = MembershipOut(many=True)
    token = TokenOut(allow_null=True, help_text="The one this request came with; null in a browser.")


class MeView(ApiView):
    """Who the token belongs to, what it may do, and in which projects."""

    permission_classes = [SignedIn]

    @extend_schema(responses={200: MeOut}, summary="Who am I")
    def get(self, request: Request) -> Response:
        person = request.user
        memberships = person.memberships.select_related("project").order_by("project__slug")
        token = request.auth if isinstance(request.auth, Token) else None
        given = {"username": person.username, "get_full_name": person.get_full_name()}
        return Response(MeOut(given | {"memberships": memberships, "token": token}).data)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document. It is the same for everybody."""
    return SchemaGenerator().get_schema(request=None, public=True)


class SchemaView(ApiView):
    """The OpenAPI document, as JSON."""

    permission_classes = [SignedIn]
    has_etag = True

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return Response(document())


class ReferenceView(View):
    """The same document as a page."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return render(request, "annotate/api_reference.html", {"sections": sections_of(document())})
