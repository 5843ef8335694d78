"""Completions and comparisons by program: push your own pairs, see what became of them. They name models: for managers."""

from django.db.models import Count, Q
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.data.pairs import Answer, Pair, add_completions, add_pairs, compare_completions, ensure_prompts

from ..models import Comparison, Completion, Judgement
from ..models.comparison import ComparisonState, Purpose
from .base import ApiView, PageIn, page_of, valid
from .given import AnswerIn, MessagesField
from .prompts import MessagesOutField
from .schema import paged

AT_ONCE = 500


class CompletionsIn(serializers.Serializer):
    prompt = MessagesField(help_text="Its text, or its messages. It is added if the project does not have it.")
    completions = AnswerIn(many=True, max_length=AT_ONCE, allow_empty=False)


class CompletionOut(serializers.ModelSerializer):
    prompt = serializers.IntegerField(source="prompt_id")
    version = serializers.SerializerMethodField()
    model = serializers.CharField(source="model_name", help_text="Who wrote it, if no version here did.")

    class Meta:
        model = Completion
        fields = (
            "id", "prompt", "version", "model", "text", "temperature", "top_p", "max_new_tokens", "seed", "token_count",
            "finish_reason", "logprob", "created_at",
        )  # fmt: skip

    def get_version(self, completion: Completion) -> int | None:
        return completion.version.number if completion.version else None


class CompletionsOut(serializers.Serializer):
    completions = CompletionOut(many=True)


class CompletionsWhich(PageIn):
    prompt = serializers.IntegerField(required=False, help_text="A prompt's id.", min_value=0, max_value=2**62)
    version = serializers.IntegerField(required=False, help_text="A version's number.", min_value=0, max_value=2**31 - 1)


class CompletionsView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[CompletionsWhich], responses={200: paged(CompletionOut)}, summary="Completions, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        asked = valid(CompletionsWhich(data=request.query_params))
        which = {"prompt": asked.get("prompt"), "version__number": asked.get("version")}
        rows = Completion.objects.filter(prompt__project=request.project).select_related("version")
        rows = rows.filter(**{name: value for name, value in which.items() if value is not None})
        return page_of(rows, request, CompletionOut)

    @extend_schema(
        request=CompletionsIn,
        responses={201: CompletionsOut},
        summary="Push completions",
        examples=[
            OpenApiExample(
                "two answers",
                value={
                    "prompt": "Why is the sky blue?",
                    "completions": [{"text": "Air scatters blue light.", "model": "ours-1"}, {"text": "It reflects the sea."}],
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """Answers to one prompt, written elsewhere. The same text by the same model again gives the row that is there."""
        given = valid(CompletionsIn(data=request.data))
        (prompt,) = ensure_prompts(project=request.project, messages=[given["prompt"]], source="api").values()
        rows = add_completions(prompt=prompt, answers=[Answer(**answer) for answer in given["completions"]])
        return Response(CompletionsOut({"completions": rows}).data, status=status.HTTP_201_CREATED)


class PairIn(serializers.Serializer):
    """Either `prompt`, `first` and `second`, or the ids of two completions that are there."""

    prompt = MessagesField(required=False, help_text="Its text, or its messages. It is added if the project does not have it.")
    first = AnswerIn(required=False)
    second = AnswerIn(required=False)
    first_id = serializers.IntegerField(required=False, min_value=0, help_text="A completion's id, instead.")
    second_id = serializers.IntegerField(required=False, min_value=0)
    priority = serializers.FloatField(
        required=False, default=0.0, min_value=-1e6, max_value=1e6, help_text="Higher is judged sooner."
    )

    def validate(self, given: dict) -> dict:
        by_text, by_id = {"prompt", "first", "second"}, {"first_id", "second_id"}
        if not (by_text <= given.keys() and not by_id & given.keys()) and not (
            by_id <= given.keys() and not by_text & given.keys()
        ):
            raise serializers.ValidationError("Give prompt, first and second, or first_id and second_id alone.")
        if "first" in given and given["first"]["text"].strip() == given["second"]["text"].strip():
            raise serializers.ValidationError("Both answers are the same: there is nothing to compare.")
        return given


class PairsIn(serializers.Serializer):
    comparisons = PairIn(many=True, max_length=AT_ONCE, allow_empty=False)


class PushedComparisonOut(serializers.Serializer):
    id = serializers.IntegerField()
    new = serializers.BooleanField(help_text="False: it was there already.")


class PushedComparisonsOut(serializers.Serializer):
    comparisons = PushedComparisonOut(many=True)


class GivenJudgementOut(serializers.ModelSerializer):
    """In stored order: `first` says that the first was better, wherever it stood on the screen."""

    comparison = serializers.IntegerField(source="comparison_id")
    annotator = serializers.CharField(source="annotator.username")
    ai = serializers.BooleanField(source="annotator.is_ai", help_text="An AI annotator gave it.")
    swapped = serializers.BooleanField(source="assignment.swapped", help_text="The second stood on the left.")
    grades = serializers.IntegerField(source="assignment.grades")
    flags = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Judgement
        fields = (
            "key", "comparison", "annotator", "ai", "outcome", "strength", "grades", "swapped", "rationale", "flags",
            "edited_text", "seconds", "late", "created_at", "withdrawn_at",
        )  # fmt: skip


class ComparisonOut(serializers.ModelSerializer):
    prompt = serializers.IntegerField(source="prompt_id")
    first = CompletionOut()
    second = CompletionOut()
    judgements = serializers.IntegerField(source="standing", help_text="That stand.")

    class Meta:
        model = Comparison
        fields = (
            "id", "prompt", "first", "second", "purpose", "state", "priority", "judgements_required", "judgements", "source",
            "created_at",
        )  # fmt: skip


class ComparisonAndJudgementsOut(ComparisonOut):
    messages = MessagesOutField(source="prompt.messages")
    given = serializers.SerializerMethodField()

    class Meta(ComparisonOut.Meta):
        fields = (*ComparisonOut.Meta.fields, "messages", "given")

    @extend_schema_field(GivenJudgementOut(many=True))
    def get_given(self, comparison: Comparison) -> list[dict]:
        rows = comparison.judgements.select_related("annotator", "assignment").order_by("pk")
        return GivenJudgementOut(rows, many=True).data


class ComparisonsWhich(PageIn):
    state = serializers.ChoiceField(choices=ComparisonState.choices, required=False)
    purpose = serializers.ChoiceField(choices=Purpose.choices, required=False)


class ComparisonsView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[ComparisonsWhich], responses={200: paged(ComparisonOut)}, summary="Comparisons, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        asked = valid(ComparisonsWhich(data=request.query_params))
        which = {name: asked[name] for name in ("state", "purpose") if name in asked}
        return page_of(comparisons_of(request).filter(**which), request, ComparisonOut)

    @extend_schema(
        request=PairsIn,
        responses={201: PushedComparisonsOut},
        summary="Push pairs to be compared",
        examples=[
            OpenApiExample(
                "a pair",
                value={
                    "comparisons": [
                        {
                            "prompt": "Why is the sky blue?",
                            "first": {"text": "Air scatters blue light.", "model": "ours-1"},
                            "second": {"text": "It reflects the sea.", "model": "ours-2"},
                        }
                    ]
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """1 to 500 pairs, all or none, open for the project's annotators. A pair that is there already stays as it is."""
        given = valid(PairsIn(data=request.data))["comparisons"]
        by_id = self._by_id(request, given)
        by_text = iter(
            add_pairs(
                project=request.project,
                pairs=[
                    Pair(row["prompt"], Answer(**row["first"]), Answer(**row["second"]), row["priority"], "api")
                    for row in given
                    if "first" in row
                ],
            )
        )
        made = [compare_completions(**by_id[place]) if place in by_id else next(by_text) for place in range(len(given))]
        out = [{"id": comparison.pk, "new": new} for comparison, new in made]
        return Response(PushedComparisonsOut({"comparisons": out}).data, status=status.HTTP_201_CREATED)

    def _by_id(self, request: Request, given: list[dict]) -> dict[int, dict]:
        """By place, the pairs of completions that are there. All are looked at before any is made."""
        ids = {row[name] for row in given if "first_id" in row for name in ("first_id", "second_id")}
        found = Completion.objects.filter(prompt__project=request.project).select_related("prompt").in_bulk(ids)
        wrong, pairs = {}, {}
        for place, row in enumerate(given):
            if "first_id" not in row:
                continue
            first, second = found.get(row["first_id"]), found.get(row["second_id"])
            if first is None or second is None:
                wrong[str(place)] = ["There is no such completion in this project."]
            elif first == second or first.prompt_id != second.prompt_id:
                wrong[str(place)] = ["Two different completions of one prompt are needed."]
            else:
                pairs[place] = {"first": first, "second": second, "priority": row["priority"]}
        if wrong:
            raise ValidationError({"comparisons": wrong})
        return pairs


class ComparisonView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: ComparisonAndJudgementsOut}, summary="A comparison and its judgements")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(ComparisonAndJudgementsOut(get_object_or_404(comparisons_of(request), pk=id)).data)


class AllJudgementsView(ApiView):
    may = "may_manage"
    about = "comparisons"

    @extend_schema(
        parameters=[PageIn], responses={200: paged(GivenJudgementOut)}, summary="Everybody's judgements, the newest first"
    )
    def get(self, request: Request, slug: str) -> Response:
        rows = Judgement.objects.filter(comparison__project=request.project).select_related("annotator", "assignment")
        return page_of(rows, request, GivenJudgementOut)


def comparisons_of(request: Request):
    standing = Count("judgements", filter=Q(judgements__withdrawn_at=None))
    return request.project.comparisons.select_related("first__version", "second__version", "prompt").annotate(standing=standing)
