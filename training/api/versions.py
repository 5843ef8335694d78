"""Versions by program: which there are, which one serves, and their files."""

import mimetypes
from typing import Any

from django.db import transaction
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from training.api.serializers import KeepVersionIn, PromoteIn, VersionFilesOut, VersionOut
from training.models import Version
from training.versions.files import list_files
from training.versions.registry import PromotionRefused, promote, serving_version
from training.versions.upkeep import UpkeepRefused, archive, describe, unarchive


class VersionView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: VersionOut}, summary="A version")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return answer_with(request, number)

    @extend_schema(request=KeepVersionIn, responses={200: VersionOut}, summary="Notes, tags, archive")
    def patch(self, request: Request, slug: str, number: int) -> Response:
        """What is left out stays. `archived` puts it out of the way and loses nothing; the one that serves stays (409)."""
        keep_version(find_version(request, number), valid(KeepVersionIn(data=request.data)))
        return answer_with(request, number)


class VersionsView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(parameters=[PageIn], responses={200: paged(VersionOut)}, summary="Versions, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(versions_of(request), request, VersionOut, by="number", serving=serving_version(request.project))


class PromoteVersionView(ApiView):
    @extend_schema(request=PromoteIn, responses={200: VersionOut}, summary="Make a version serve")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """From now on it writes the pairs. Promote an earlier one to roll back. 409: its files have been deleted."""
        version = find_version(request, number)
        try:
            promote(version=version, by=request.user, why=valid(PromoteIn(data=request.data))["why"])
        except PromotionRefused as refusal:
            raise Conflict(str(refusal)) from None
        return Response(VersionOut(version, context={"serving": version}).data)


class VersionFilesView(ApiView):
    may = "may_manage"
    has_etag = True

    @extend_schema(responses={200: VersionFilesOut}, summary="A version's files")
    def get(self, request: Request, slug: str, number: int) -> Response:
        """What `transformers`, vLLM and the Hub load as it is: download each into one directory. Empty for a version whose
        model is elsewhere."""
        return Response(VersionFilesOut({"files": list_files(find_version(request, number))}).data)


class VersionFileView(ApiView):
    may = "may_manage"

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY}, summary="Download a file of a version")
    def get(self, request: Request, slug: str, number: int, name: str) -> HttpResponse:
        """Files never change: with the `ETag` you have as `If-None-Match`, the answer is 304."""
        version = find_version(request, number)
        known = {file.name: file for file in list_files(version)}
        if name not in known:
            raise Http404(f"Version {number} has no file “{name[:100]}”.")
        if (unchanged := get_conditional_response(request._request, etag=known[name].etag)) is not None:
            return unchanged
        path = version.path / name
        kind = mimetypes.guess_type(name)[0] if name.endswith(".json") else None
        response = FileResponse(
            path.open("rb"), as_attachment=True, filename=name, content_type=kind or "application/octet-stream"
        )
        response["ETag"] = known[name].etag
        return response


def versions_of(request: Request):
    return Version.objects.of(request.project).select_related("project", "parent", "run").prefetch_related("aliases")


def answer_with(request: Request, number: int) -> Response:
    context = {"serving": serving_version(request.project)}
    return Response(VersionOut(find_version(request, number), context=context).data)


@transaction.atomic
def keep_version(version: Version, given: dict[str, Any]) -> None:
    """Raises ValidationError or Conflict."""
    if {"notes", "tags"} & given.keys():
        try:
            describe(version=version, notes=given.get("notes", version.notes), tags=given.get("tags", version.tags))
        except UpkeepRefused as refusal:
            raise ValidationError({"notes": [str(refusal)]}) from None
    if "archived" in given:
        try:
            archive(version=version) if given["archived"] else unarchive(version=version)
        except UpkeepRefused as refusal:
            raise Conflict(str(refusal)) from None


def find_version(request: Request, number: int) -> Version:
    return get_object_or_404(versions_of(request), number=number)
