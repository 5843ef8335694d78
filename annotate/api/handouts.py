"""Batches for named people by program: handed out, seen, released."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.queue.handouts import MOST, HandoutRefused, hand_out, handouts_of, may_get, release

from ..models import Handout, User
from .base import ApiView, Conflict, PageIn, page_of, valid
from .schema import paged


class HandoutIn(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    people = serializers.ListField(
        child=serializers.CharField(max_length=150), min_length=1, max_length=200, help_text="User names of members who judge."
    )
    count = serializers.IntegerField(min_value=1, max_value=MOST, default=20, help_text="Comparisons, the most urgent first.")
    containing = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200, help_text="Only prompts that hold these words."
    )


class HandoutOut(serializers.ModelSerializer):
    people = serializers.SlugRelatedField(slug_field="username", many=True, read_only=True)
    judged = serializers.IntegerField(help_text="Of its comparisons, those that are done.")

    class Meta:
        model = Handout
        fields = ("number", "name", "size", "judged", "people", "created_at", "released_at")


class HandoutsView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[PageIn], responses={200: paged(HandoutOut)}, summary="Batches, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(handouts_of(request.project), request, HandoutOut, by="number")

    @extend_schema(
        request=HandoutIn,
        responses={201: HandoutOut},
        summary="Hand a batch to named people",
        examples=[
            OpenApiExample("twenty", value={"name": "Medicine", "people": ["ada"], "containing": "dose"}, request_only=True)
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """Open comparisons that come first for these people, and to nobody else, until you release them. `size` says how many
        there were; what somebody has on the screen stays with them."""
        given = valid(HandoutIn(data=request.data))
        try:
            handout = hand_out(project=request.project, by=request.user, **given | {"people": _people(request, given["people"])})
        except HandoutRefused as refusal:
            raise Conflict(str(refusal)) from None
        return Response(HandoutOut(_find(request, handout.number)).data, status=status.HTTP_201_CREATED)


class HandoutView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: HandoutOut}, summary="A batch")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(HandoutOut(_find(request, number)).data)


class ReleaseHandoutView(ApiView):
    about = "handouts"

    @extend_schema(request=None, responses={200: HandoutOut}, summary="Release a batch")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """What is left of it belongs to everybody again."""
        release(handout=_find(request, number))
        return Response(HandoutOut(_find(request, number)).data)


def _find(request: Request, number: int) -> Handout:
    return get_object_or_404(handouts_of(request.project), number=number)


def _people(request: Request, names: list[str]) -> list[User]:
    found = {person.username: person for person in may_get(request.project).filter(username__in=names)}
    if wrong := [name for name in dict.fromkeys(names) if name not in found]:
        raise ValidationError({"people": [f"Not members of this project who judge: {', '.join(wrong)}."]})
    return list(found.values())
