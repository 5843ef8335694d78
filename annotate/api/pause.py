"""Pausing a project by program, and letting it go on. The page's functions."""

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.queue.pausing import pause_project, resume_project

from ..models import Project
from .base import ApiView, valid


class PauseIn(serializers.Serializer):
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=Project._meta.get_field("pause_reason").max_length,
        help_text="What annotators read: why it is paused and when it goes on.",
    )  # fmt: skip


class PauseOut(serializers.Serializer):
    paused = serializers.BooleanField(source="is_paused")
    paused_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(source="pause_reason")


class PauseView(ApiView):
    @extend_schema(responses={200: PauseOut}, summary="Whether the work is paused")
    def get(self, request: Request, slug: str) -> Response:
        return Response(PauseOut(request.project).data)

    @extend_schema(
        request=PauseIn,
        responses={200: PauseOut},
        summary="Pause the work",
        examples=[OpenApiExample("over the weekend", value={"reason": "Back on Monday."}, request_only=True)],
    )
    def put(self, request: Request, slug: str) -> Response:
        """Nothing more is handed out; pairs that are on screens can still be answered. Of a paused project: another reason."""
        pause_project(project=request.project, by=request.user, **valid(PauseIn(data=request.data)))
        return Response(PauseOut(request.project).data)

    @extend_schema(responses={200: PauseOut}, summary="Let the work go on")
    def delete(self, request: Request, slug: str) -> Response:
        resume_project(project=request.project)
        return Response(PauseOut(request.project).data)
