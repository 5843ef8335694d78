"""What programs do with a version besides making it serve: its aliases, and deleting its files."""

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict
from training.api.serializers import VersionOut
from training.api.versions import answer_with, find_version
from training.versions.upkeep import UpkeepRefused, drop_alias, request_removal, set_alias


class VersionAliasView(ApiView):
    about = "versions"

    @extend_schema(request=None, responses={200: VersionOut}, summary="Call a version by an alias")
    def put(self, request: Request, slug: str, number: int, alias: str) -> Response:
        """`best`, `release-1`, … From now on it means this version: another one that had it loses it. `serving` is no alias
        that can be given: promote a version instead."""
        try:
            set_alias(version=find_version(request, number), name=alias, by=request.user)
        except UpkeepRefused as refusal:
            raise ValidationError({"alias": [str(refusal)]}) from None
        return answer_with(request, number)

    @extend_schema(responses={200: VersionOut}, summary="Drop an alias")
    def delete(self, request: Request, slug: str, number: int, alias: str) -> Response:
        """404: the version is not called so."""
        if "\0" in alias or not drop_alias(version=find_version(request, number), name=alias):
            raise Http404(f"Version {number} has no alias “{alias[:40]}”.")
        return answer_with(request, number)


class RemoveVersionView(ApiView):
    about = "versions"

    @extend_schema(request=None, responses={200: VersionOut}, summary="Delete a version's files")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """A worker does it, and they cannot be brought back; the version's figures and history stay. 409: it serves, is the
        only copy of an ancestor, or something works with it."""
        try:
            request_removal(version=find_version(request, number))
        except UpkeepRefused as refusal:
            raise Conflict(str(refusal)) from None
        return answer_with(request, number)
