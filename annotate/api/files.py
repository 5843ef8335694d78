"""What has been judged, as a file in any of the formats, written while it is read."""

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from annotate.data.exports import FORMATS, stream_preferences

from ..models.prompt import Split
from .base import ApiView, valid


class ExportWhich(serializers.Serializer):
    as_ = serializers.ChoiceField(choices=FORMATS, default="judgements")
    split = serializers.ChoiceField(choices=Split.choices, required=False, default="")

    def get_fields(self) -> dict:
        fields = super().get_fields()
        return {"as": fields.pop("as_"), **fields}  # `as` is no name in Python; `format` is taken by the framework


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
        asked = valid(ExportWhich(data=request.query_params))
        parts = stream_preferences(project=request.project, format=asked["as"], split=asked["split"])
        return StreamingHttpResponse(parts, content_type="application/octet-stream")
