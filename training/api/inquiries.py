"""Asking a version by program: answers to prompts, and scores of answers. A worker does it; its answer is fetched later."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, valid
from annotate.api.given import AnswerTextField, MessagesField
from training.inquiries.asking import InquiryRefused, beta_of, start_inquiry
from training.models import Inquiry, Version
from training.models.inquiry import InquiryKind
from training.versions.registry import serving_version
from training.worker.jobs import request_cancel

AT_ONCE, MOST_EACH, MOST_TOKENS = 64, 16, 4096


class OfVersion(serializers.Serializer):
    version = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, help_text="Its number; the serving one if it is left out."
    )


class GenerateIn(OfVersion):
    prompts = serializers.ListField(child=MessagesField(), min_length=1, max_length=AT_ONCE)
    n = serializers.IntegerField(default=1, min_value=1, max_value=MOST_EACH, help_text="Answers to each prompt.")
    temperature = serializers.FloatField(required=False, min_value=0, max_value=5, help_text="The project's if it is left out.")
    top_p = serializers.FloatField(required=False, min_value=0.01, max_value=1, help_text="The project's if it is left out.")
    max_new_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=MOST_TOKENS, help_text="The project's if it is left out."
    )
    seed = serializers.IntegerField(default=0, min_value=0, max_value=2**31 - 1, help_text="The same one gives the same answers.")


class ScoredIn(serializers.Serializer):
    prompt = MessagesField()
    text = AnswerTextField()
    truncated = serializers.BooleanField(default=False, help_text="It was cut off: no end-of-turn token belongs to it.")


class ScoreIn(OfVersion):
    answers = ScoredIn(many=True, max_length=AT_ONCE, allow_empty=False)
    beta = serializers.FloatField(
        required=False,
        min_value=0.0001,
        max_value=100,
        help_text="Of the implicit reward; that of the version's run if left out.",
    )


class InquiryOut(serializers.ModelSerializer):
    """`answer` has a row for each prompt or answer that was sent, once `state` is done; it is kept for a week."""

    version = serializers.IntegerField(source="version.number")
    answer = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = Inquiry
        fields = ("id", "kind", "version", "state", "progress", "total", "error", "answer", "created_at", "finished_at")


QUEUED = {
    "id": 12, "kind": "generate", "version": 1, "state": "queued", "progress": 0, "total": 2, "error": "", "answer": [],
    "created_at": "2026-05-04T12:00:00Z", "finished_at": None,
}  # fmt: skip
ANSWERED = QUEUED | {
    "state": "done", "progress": 2, "finished_at": "2026-05-04T12:00:09Z",
    "answer": [
        {"completions": [{"text": "Air scatters blue.", "finish_reason": "stop", "tokens": 7, "logprob": -9.2}], "error": ""},
    ],
}  # fmt: skip
SCORED = QUEUED | {
    "kind": "score", "state": "done", "progress": 1, "total": 1, "finished_at": "2026-05-04T12:00:03Z",
    "answer": [{"tokens": 7, "logprob": -9.2, "reference_logprob": -11.0, "reward": 0.18, "error": ""}],
}  # fmt: skip


class AskingView(ApiView):
    may = "may_see_versions"
    starts_work = True

    def ask(self, request: Request, kind: InquiryKind, version: Version, asked: dict) -> Response:
        try:
            inquiry = start_inquiry(kind=kind, version=version, asked=asked, by=request.user)
        except InquiryRefused as refusal:
            raise Conflict(str(refusal)) from None
        return Response(InquiryOut(inquiry).data, status=status.HTTP_202_ACCEPTED)

    def find_version(self, request: Request, number: int | None) -> Version:
        if number is None:
            if (version := serving_version(request.project)) is None:
                raise Conflict("No model serves yet. Name a version, or add a model first.")
            return version
        version = Version.objects.of(request.project).filter(number=number).first()
        if version is None:
            raise ValidationError({"version": [f"There is no version {number} in this project."]})
        return version


class GenerateView(AskingView):
    @extend_schema(
        request=GenerateIn,
        responses={202: InquiryOut},
        summary="Let a version answer prompts",
        examples=[
            OpenApiExample("ask", value={"prompts": ["Why is the sky blue?"], "n": 2, "seed": 7}, request_only=True),
            OpenApiExample("queued", value=QUEUED, response_only=True),
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """1 to 64 prompts. The result is at `inquiries/{id}/`, as soon as a worker has written it. Nothing of it enters the
        project: push what you want to be compared."""
        given = valid(GenerateIn(data=request.data))
        version = self.find_version(request, given.pop("version"))
        defaults = {name: getattr(request.project, name) for name in ("temperature", "top_p", "max_new_tokens")}
        return self.ask(request, InquiryKind.GENERATE, version, defaults | given)


class ScoreView(AskingView):
    @extend_schema(
        request=ScoreIn,
        responses={202: InquiryOut},
        summary="Score answers by a version",
        examples=[
            OpenApiExample(
                "ask",
                value={"answers": [{"prompt": "Why is the sky blue?", "text": "Air scatters blue light."}]},
                request_only=True,
            ),
            OpenApiExample("queued", value=QUEUED | {"kind": "score"}, response_only=True),
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """log π(y|x) of 1 to 64 answers and, for a version that was trained here, the implicit reward
        β · (log π(y|x) − log π_ref(y|x)). The result is at `inquiries/{id}/`."""
        given = valid(ScoreIn(data=request.data))
        version = self.find_version(request, given["version"])
        answers = [{"messages": row["prompt"], "text": row["text"], "truncated": row["truncated"]} for row in given["answers"]]
        return self.ask(request, InquiryKind.SCORE, version, {"answers": answers, "beta": given.get("beta") or beta_of(version)})


class InquiryView(ApiView):
    may = "may_see_versions"
    has_etag = True
    about = "generate"

    @extend_schema(
        responses={200: InquiryOut},
        summary="What a version answered",
        examples=[OpenApiExample("answers", value=ANSWERED), OpenApiExample("scores", value=SCORED)],
    )
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(InquiryOut(find_inquiry(request, id)).data)


class CancelInquiryView(ApiView):
    about = "generate"

    @extend_schema(request=None, responses={200: InquiryOut}, summary="Ask no longer")
    def post(self, request: Request, slug: str, id: int) -> Response:
        inquiry = find_inquiry(request, id)
        request_cancel(job=inquiry)
        return Response(InquiryOut(inquiry).data)


def find_inquiry(request: Request, id: int) -> Inquiry:
    return get_object_or_404(request.project.inquiries.select_related("version"), pk=id)
