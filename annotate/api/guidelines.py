"""A project's guidelines by program: read, written, and their editions. The page's functions."""

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.projects.guidelines import LONGEST, GuidelinesChanged, is_unread, mark_as_read, save_guidelines

from ..models import GuidelinesEdition
from .base import ApiView, Conflict, PageIn, page_of, valid
from .schema import paged

LARGEST_NUMBER = 2**31 - 1


class GuidelinesIn(serializers.Serializer):
    text = serializers.CharField(allow_blank=True, max_length=LONGEST, help_text="Markdown.")
    why = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200,
        help_text="What changes, in a few words. Annotators read it beside the news.",
    )  # fmt: skip
    based_on = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=LARGEST_NUMBER,
        help_text="The number of the edition that you started from, 0 if there was none: another one since then refuses yours.",
    )  # fmt: skip


class EditionOut(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", allow_null=True, default=None)

    class Meta:
        model = GuidelinesEdition
        fields = ("number", "text", "why", "by", "created_at")


class GuidelinesOut(serializers.Serializer):
    """`edition` is 0 and `text` empty while there are none."""

    edition = serializers.IntegerField()
    text = serializers.CharField(help_text="Markdown.")
    why = serializers.CharField(help_text="What changed in this edition.")
    unread = serializers.BooleanField(help_text="They have changed since you read them.")


class ReadIn(serializers.Serializer):
    edition = serializers.IntegerField(min_value=1, max_value=LARGEST_NUMBER)


class GuidelinesView(ApiView):
    has_etag = True

    @extend_schema(responses={200: GuidelinesOut}, summary="The guidelines")
    def get(self, request: Request, slug: str) -> Response:
        """As they are now. Say that they were read with `read/`."""
        return Response(_now(request))

    @extend_schema(
        request=GuidelinesIn,
        responses={200: GuidelinesOut},
        summary="Write the guidelines",
        examples=[
            OpenApiExample(
                "edition 2", value={"text": "Prefer the shorter one.", "why": "Length counts.", "based_on": 1}, request_only=True
            )
        ],
    )
    def put(self, request: Request, slug: str) -> Response:
        """Makes a new edition, of which annotators are told; the same text again makes none. 409: somebody else has saved one
        since `based_on`."""
        try:
            save_guidelines(project=request.project, by=request.user, **valid(GuidelinesIn(data=request.data)))
        except GuidelinesChanged as changed:
            theirs = changed.newest.number
            raise Conflict(f"Edition {theirs} was saved since you began. Read it, take over what should stay, send again with "
                           f"based_on {theirs}.") from None  # fmt: skip
        return Response(_now(request))


class ReadGuidelinesView(ApiView):
    about = "guidelines"
    may_write = None
    scope = "judge"

    @extend_schema(request=ReadIn, responses={200: GuidelinesOut}, summary="Say that the guidelines were read")
    def post(self, request: Request, slug: str) -> Response:
        """By you, in that edition. What you judge from then on names it."""
        number = valid(ReadIn(data=request.data))["edition"]
        if not _editions(request).filter(number=number).exists():
            raise Http404(f"There is no edition {number}.")
        mark_as_read(membership=request.project.memberships.get(user=request.user), number=number)
        return Response(_now(request))


class EditionsView(ApiView):
    about = "guidelines"

    @extend_schema(parameters=[PageIn], responses={200: paged(EditionOut)}, summary="Editions, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(_editions(request), request, EditionOut, by="number")


class EditionView(ApiView):
    about = "guidelines"

    @extend_schema(responses={200: EditionOut}, summary="An edition")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(EditionOut(get_object_or_404(_editions(request), number=number)).data)


def _editions(request: Request) -> QuerySet[GuidelinesEdition]:
    return request.project.guidelines_editions.select_related("by")


def _now(request: Request) -> dict:
    member = request.project.memberships.select_related("project__guidelines_edition").get(user=request.user)
    edition = member.project.guidelines_edition
    known = {"edition": edition.number, "why": edition.why} if edition else {"edition": 0, "why": ""}
    return GuidelinesOut(known | {"text": member.project.guidelines, "unread": is_unread(member)}).data
