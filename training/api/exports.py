"""What has been judged, as a file in any of the formats, written while it is read; and its card."""

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from annotate.api.base import ApiView, valid
from annotate.data.exports import FORMATS, Wanted, count_preferences, stream_preferences
from annotate.models.project import Consensus
from annotate.models.prompt import Split
from training.datasets.cards import NO_LICENCE, NoLicence, card_of_export, check_licence, file_name_of
from training.datasets.filters import STRONGEST, FilterError, Filters
from training.versions.registry import serving_version


class ExportWhich(serializers.Serializer):
    """A format, a split, and the filters of a dataset (training/datasets/filters.py)."""

    as_ = serializers.ChoiceField(choices=FORMATS, default="judgements")
    split = serializers.ChoiceField(choices=Split.choices, required=False, default="")
    consensus = serializers.ChoiceField(
        choices=Consensus.choices,
        required=False,
        default="",
        help_text="For formats of triples; else the project's rule.",
    )
    min_strength = serializers.IntegerField(required=False, default=1, min_value=1, max_value=STRONGEST)
    since = serializers.DateField(required=False, default=None, help_text="Judged on this day or later.")
    until = serializers.DateField(required=False, default=None, help_text="Judged on this day or before.")
    people = serializers.ListField(
        child=serializers.CharField(max_length=150), required=False, default=list, help_text="User names: only their judgements."
    )
    sources = serializers.ListField(
        child=serializers.CharField(max_length=20), required=False, default=list, help_text="generated, or i3 for import 3."
    )
    versions = serializers.ListField(
        child=serializers.CharField(max_length=20),
        required=False,
        default=list,
        help_text="Both answers are by one of them: v2.",
    )
    fresh = serializers.BooleanField(required=False, default=False, help_text="An answer at least is by the version that serves.")

    def get_fields(self) -> dict:
        fields = super().get_fields()
        return {"as": fields.pop("as_"), **fields}  # `as` is no name in Python; `format` is taken by the framework

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        names = ("consensus", "min_strength", "since", "until", "people", "sources", "versions", "fresh")
        try:
            filters = Filters.read({name: given[name] or None for name in names}, project=self.context["project"])
        except FilterError as error:
            raise serializers.ValidationError(error.fields) from None
        return given | {"filters": filters}


class ExportCardWhich(ExportWhich):
    licence = serializers.CharField(
        required=False, default=NO_LICENCE, max_length=60, help_text="As the Hub writes it: cc-by-4.0."
    )

    def validate_licence(self, given: str) -> str:
        try:
            return check_licence(given)
        except NoLicence as error:
            raise serializers.ValidationError(str(error)) from None


class ExportView(ApiView):
    may = "may_manage"

    @extend_schema(
        parameters=[ExportWhich],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
        summary="What has been judged",
    )
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """Formats of triples give what consensus makes of the judgements; the others every judgement that stands. Annotators
        are pseudonyms."""
        asked = valid(ExportWhich(data=request.query_params, context={"project": request.project}))
        parts = stream_preferences(project=request.project, format=asked["as"], wanted=_wanted(request, asked))
        return StreamingHttpResponse(parts, content_type="application/octet-stream")


class ExportCardView(ApiView):
    may = "may_manage"

    @extend_schema(
        parameters=[ExportCardWhich],
        responses={(200, "text/markdown"): OpenApiTypes.STR},
        summary="The card of an export",
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """Markdown with the Hub's head: counts, agreement, lengths, sources, licence, and how it was made."""
        asked = valid(ExportCardWhich(data=request.query_params, context={"project": request.project}))
        project, format, wanted = request.project, asked["as"], _wanted(request, asked)
        text = card_of_export(
            project=project, format=format, file_name=file_name_of(project, format, asked["split"]), filters=asked["filters"],
            wanted=wanted, report=count_preferences(project=project, format=format, wanted=wanted), licence=asked["licence"],
        )  # fmt: skip
        return HttpResponse(text, content_type="text/markdown; charset=utf-8")


def _wanted(request: Request, asked: dict[str, Any]) -> Wanted:
    return asked["filters"].wanted(project=request.project, split=asked["split"], start=serving_version(request.project))
