"""AI annotators by program: who they are, by which rubric they judge, what they are worth. The functions of their pages."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, PageIn, page_of, valid
from annotate.api.schema import paged
from annotate.api.shares import ShareOut
from annotate.models.project import AiJudgements
from annotate.people.ai_members import change_ai_judgements
from training.ai.annotators import (
    LONGEST_RUBRIC,
    PROTOCOLS,
    AiAnnotatorRefused,
    change_ai_annotator,
    create_ai_annotator,
    protocol_of,
    settings_of,
)
from training.ai.figures import AiFigures, figures_of
from training.models import AiAnnotator, Rubric, Sitting


class AiAnnotatorIn(serializers.Serializer):
    name = serializers.CharField(max_length=100, help_text="People see it beside its judgements, marked as AI.")
    rubric = serializers.CharField(
        max_length=LONGEST_RUBRIC, help_text="What makes an answer better, in Markdown. Each edition is kept."
    )
    protocol = serializers.ChoiceField(choices=PROTOCOLS, default=PROTOCOLS[0][0])
    temperature = serializers.FloatField(default=0.0, min_value=0, max_value=2)
    is_on = serializers.BooleanField(default=True, help_text="It judges what comes.")


class NewAiAnnotatorIn(AiAnnotatorIn):
    """It is an endpoint or a version, one of them."""

    endpoint = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, help_text="An endpoint's id.")
    version = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        help_text="Or the number of a version with weights here.",
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if (given["endpoint"] is None) == (given["version"] is None):
            raise serializers.ValidationError({"endpoint": ["Name an endpoint or a version, one of them."]})
        return given


class AiAnnotatorOut(serializers.ModelSerializer):
    name = serializers.CharField(source="user.get_full_name")
    username = serializers.CharField(source="user.username")
    endpoint = serializers.IntegerField(source="endpoint_id", allow_null=True)
    version = serializers.SerializerMethodField()
    protocol = serializers.SerializerMethodField()
    rubric = serializers.CharField(source="rubric.text", help_text="The edition it judges by now.")
    edition = serializers.IntegerField(source="rubric.number")

    class Meta:
        model = AiAnnotator
        fields = (
            "id", "name", "username", "endpoint", "version", "protocol", "temperature", "is_on", "rubric", "edition",
            "created_at",
        )  # fmt: skip

    def get_version(self, annotator: AiAnnotator) -> int | None:
        return annotator.version.number if annotator.version else None

    @extend_schema_field(serializers.ChoiceField(choices=PROTOCOLS))
    def get_protocol(self, annotator: AiAnnotator) -> str:
        return protocol_of(annotator)


class AiFiguresOut(serializers.Serializer):
    """Of its newest 5,000 judgements."""

    judged = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="Its answer could not be read, twice.")
    divided = ShareOut(help_text="Pairs of which each order said another side: ties.")
    chose_a = ShareOut(help_text="Of all that it was shown, the first place chosen. Far from a half, it judges places.")
    with_people = ShareOut(help_text="Where most people chose a side, too: the same side.")
    among_people = ShareOut(help_text="Of two people's sides of one of its pairs: the same. What it should come near to.")
    worth = serializers.SerializerMethodField(help_text="What a lead should make of it, in words.")

    def get_worth(self, figures: AiFigures) -> str:
        return figures.worth[1]


class AiAnnotatorAndFiguresOut(AiAnnotatorOut):
    figures = serializers.SerializerMethodField()

    class Meta(AiAnnotatorOut.Meta):
        fields = (*AiAnnotatorOut.Meta.fields, "figures")

    @extend_schema_field(AiFiguresOut)
    def get_figures(self, annotator: AiAnnotator) -> dict:
        return AiFiguresOut(figures_of(annotator)).data


class RubricOut(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", allow_null=True, default=None)

    class Meta:
        model = Rubric
        fields = ("number", "text", "by", "created_at")


class SittingOut(serializers.ModelSerializer):
    class Meta:
        model = Sitting
        fields = (
            "id", "state", "progress", "total", "divided", "skipped", "requests", "prompt_tokens", "completion_tokens", "cost",
            "error", "created_at", "finished_at",
        )  # fmt: skip


class PurposeIn(serializers.Serializer):
    ai_judgements = serializers.ChoiceField(
        choices=AiJudgements.choices, help_text="What the judgements of all AI annotators here are for."
    )


class AiAnnotatorsView(ApiView):
    may = "may_manage"
    about = "ai"

    @extend_schema(parameters=[PageIn], responses={200: paged(AiAnnotatorOut)}, summary="AI annotators, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(_annotators(request), request, AiAnnotatorOut)

    @extend_schema(
        request=NewAiAnnotatorIn,
        responses={201: AiAnnotatorOut},
        summary="Add an AI annotator",
        examples=[
            OpenApiExample(
                "an endpoint",
                value={"name": "Brief", "endpoint": 3, "rubric": "The shorter of two right answers is better."},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """It becomes a member, marked AI, and judges through the queue as soon as a worker is free. Each pair is asked in both
        orders; where they disagree it is a tie."""
        given = valid(NewAiAnnotatorIn(data=request.data))
        given["endpoint"] = _named(request.project.endpoints, "endpoint", pk=given["endpoint"])
        given["version"] = _named(request.project.versions.trainable(), "version", number=given["version"])
        try:
            annotator = create_ai_annotator(project=request.project, by=request.user, **_with_protocol(given))
        except AiAnnotatorRefused as refused:
            raise ValidationError(refused.fields) from None
        return Response(AiAnnotatorOut(annotator).data, status=status.HTTP_201_CREATED)


class AiAnnotatorView(ApiView):
    may = "may_manage"
    about = "ai"

    @extend_schema(responses={200: AiAnnotatorAndFiguresOut}, summary="An AI annotator, and what it is worth")
    def get(self, request: Request, slug: str, annotator_id: int) -> Response:
        return Response(AiAnnotatorAndFiguresOut(find_annotator(request, annotator_id)).data)

    @extend_schema(request=AiAnnotatorIn, responses={200: AiAnnotatorAndFiguresOut}, summary="Change an AI annotator")
    def patch(self, request: Request, slug: str, annotator_id: int) -> Response:
        """What is left out stays as it is. Another rubric is a new edition: judgements know by which they were made."""
        found = find_annotator(request, annotator_id)
        given = valid(AiAnnotatorIn(data=request.data, partial=True))
        stored = {
            "name": str(found), "rubric": found.rubric.text, "protocol": protocol_of(found), "is_on": found.is_on,
            "temperature": found.temperature,
        }  # fmt: skip
        try:
            change_ai_annotator(annotator=found, by=request.user, **_with_protocol(stored | given))
        except AiAnnotatorRefused as refused:
            raise ValidationError(refused.fields) from None
        return self.get(request, slug, annotator_id)


class RubricsView(ApiView):
    may = "may_manage"
    about = "ai"

    @extend_schema(parameters=[PageIn], responses={200: paged(RubricOut)}, summary="Editions of a rubric, the newest first")
    def get(self, request: Request, slug: str, annotator_id: int) -> Response:
        rows = find_annotator(request, annotator_id).rubrics.select_related("by")
        return page_of(rows, request, RubricOut, by="number")


class SittingsView(ApiView):
    may = "may_manage"
    about = "ai"

    @extend_schema(parameters=[PageIn], responses={200: paged(SittingOut)}, summary="Its sittings, the newest first")
    def get(self, request: Request, slug: str, annotator_id: int) -> Response:
        """Each judges up to 50 pairs of the queue. They start by themselves; `error` says why one failed."""
        return page_of(find_annotator(request, annotator_id).sittings.all(), request, SittingOut)


class AiPurposeView(ApiView):
    may = "may_manage"
    about = "ai"

    @extend_schema(responses={200: PurposeIn}, summary="What AI judgements are for")
    def get(self, request: Request, slug: str) -> Response:
        return Response({"ai_judgements": request.project.ai_judgements})

    @extend_schema(request=PurposeIn, responses={200: PurposeIn}, summary="Say what AI judgements are for")
    def put(self, request: Request, slug: str) -> Response:
        """They count like people's, only sort the queue, or rest. It holds for the judgements that are there, too."""
        change_ai_judgements(project=request.project, to=valid(PurposeIn(data=request.data))["ai_judgements"])
        return self.get(request, slug)


def _annotators(request: Request):
    return request.project.ai_annotators.select_related("user", "endpoint", "version", "project")


def find_annotator(request: Request, id: int) -> AiAnnotator:
    return get_object_or_404(_annotators(request), pk=id)


def _named(rows: Any, name: str, **which: int | None) -> Any:
    if None in which.values():
        return None
    found = rows.filter(**which).first()
    if found is None:
        raise ValidationError({name: ["There is none in this project that could judge."]})
    return found


def _with_protocol(given: dict[str, Any]) -> dict[str, Any]:
    protocol = given.pop("protocol")
    return given | settings_of(protocol)
