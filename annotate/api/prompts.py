"""Prompts by program: push them, look at them."""

import io
import json

from django.db import transaction
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.data.prompts import import_prompts

from ..formats.prompts import MAX_TAG_CHARACTERS, MAX_TAGS
from ..models import Prompt
from ..models.prompt import Split
from .base import ApiView, PageIn, page_of, valid
from .given import MESSAGES, MessagesField
from .schema import paged

AT_ONCE = 1000


@extend_schema_field(MESSAGES["oneOf"][1])
class MessagesOutField(serializers.JSONField):
    pass


class PromptIn(serializers.Serializer):
    prompt = MessagesField(help_text="Its text, or its messages, the last of them the user's.")
    system = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=20_000, help_text="A system message, where there is none."
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=MAX_TAG_CHARACTERS), required=False, default=list, max_length=MAX_TAGS
    )
    id = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=100, help_text="Yours; kept as its source."
    )


class PromptsIn(serializers.Serializer):
    prompts = PromptIn(many=True, max_length=AT_ONCE, allow_empty=False)
    source = serializers.CharField(required=False, allow_blank=True, default="api", max_length=90)


class PushedOut(serializers.Serializer):
    added = serializers.IntegerField()
    heldout = serializers.IntegerField(help_text="Of those added: they never train, they measure.")
    known = serializers.IntegerField(help_text="That were there already.")


class PromptOut(serializers.ModelSerializer):
    messages = MessagesOutField()
    tags = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Prompt
        fields = ("id", "messages", "split", "tags", "source", "created_at")


class PromptsWhich(PageIn):
    split = serializers.ChoiceField(choices=Split.choices, required=False)


class PromptsView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[PromptsWhich], responses={200: paged(PromptOut)}, summary="Prompts, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        split = valid(PromptsWhich(data=request.query_params)).get("split")
        rows = request.project.prompts.all()
        return page_of(rows.filter(split=split) if split else rows, request, PromptOut)

    @extend_schema(
        request=PromptsIn,
        responses={201: PushedOut},
        summary="Push prompts",
        examples=[
            OpenApiExample(
                "two",
                value={
                    "prompts": [
                        {"prompt": "Why is the sky blue?"},
                        {"prompt": [{"role": "user", "content": "Hi!"}], "tags": ["small"]},
                    ]
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """1 to 1,000 prompts, all or none. Those the project has already are counted as `known`."""
        given = valid(PromptsIn(data=request.data))
        rows = [{"messages": row["prompt"], "tags": row["tags"]} | _named(row) for row in given["prompts"]]
        stream = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
        with transaction.atomic():
            report = import_prompts(project=request.project, stream=stream, source=given["source"])
            if report.refused:
                transaction.set_rollback(True)
        if report.refused:
            wrong = {str(bad.line - 1): [f"{bad.reason} {bad.next_step}"] for bad in report.refused}
            raise ValidationError({"prompts": wrong})
        out = {"added": report.added, "heldout": report.heldout, "known": report.known}
        return Response(PushedOut(out).data, status=status.HTTP_201_CREATED)


class PromptView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: PromptOut}, summary="A prompt")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(PromptOut(get_object_or_404(request.project.prompts, pk=id)).data)


def _named(row: dict) -> dict[str, str]:
    return {name: row[name] for name in ("system", "id") if row[name]}
