"""Endpoints by program: model servers registered, tested, made to serve. Keys go in and never come out."""

from contextlib import suppress

from django.db.models import Sum
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from training.api.serializers import VersionOut
from training.endpoints.errors import EndpointError
from training.endpoints.probe import PATIENCE, probe_endpoint
from training.endpoints.registering import (
    SETTINGS,
    EndpointRefused,
    change_endpoint,
    create_endpoint,
    remove_endpoint,
    serve_endpoint,
)
from training.models import Endpoint

PRICE = {"min_value": 0, "max_digits": 10, "decimal_places": 4}


class EndpointIn(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    base_url = serializers.CharField(max_length=500, help_text="Up to /v1. The server that runs Prefloop asks it.")
    model = serializers.CharField(max_length=200, help_text="As the server calls it.")
    key = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=1000, help_text="Stored encrypted and never shown again."
    )
    requests_per_minute = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=1_000_000, help_text="Null: as many as it takes."
    )
    concurrency = serializers.IntegerField(default=4, min_value=1, max_value=64, help_text="Requests at once.")
    timeout_seconds = serializers.IntegerField(
        default=60, min_value=1, max_value=3600, help_text="The longest silence within an answer."
    )
    price_in = serializers.DecimalField(default=0, **PRICE, help_text="$ per million tokens read.")
    price_out = serializers.DecimalField(default=0, **PRICE, help_text="$ per million tokens written.")
    extra = serializers.DictField(required=False, default=dict, help_text="Fields added to each request.")
    loads_adapters = serializers.BooleanField(default=False, help_text="A vLLM that takes LoRA adapters.")


class ChangeEndpointIn(EndpointIn):
    forget_key = serializers.BooleanField(default=False)


class SpentOut(serializers.Serializer):
    """By its generations."""

    requests = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cost = serializers.DecimalField(max_digits=16, decimal_places=8, help_text="US dollars.")


class EndpointOut(serializers.ModelSerializer):
    has_key = serializers.BooleanField()
    extra = serializers.DictField()
    tested = serializers.DictField(source="features", help_text="What the last test showed; `error` if it failed.")
    version = serializers.SerializerMethodField(help_text="The version that stands for it, once it has served.")

    class Meta:
        model = Endpoint
        fields = ("id", "name", "base_url", "model", "has_key", *SETTINGS, "tested", "version", "created_at")

    def get_version(self, endpoint: Endpoint) -> int | None:
        return next((version.number for version in endpoint.versions.all()), None)


class EndpointAndSpentOut(EndpointOut):
    spent = serializers.SerializerMethodField()

    class Meta(EndpointOut.Meta):
        fields = (*EndpointOut.Meta.fields, "spent")

    @extend_schema_field(SpentOut)
    def get_spent(self, endpoint: Endpoint) -> dict:
        own = endpoint.project.generations.filter(version__endpoint=endpoint)
        return SpentOut(own.aggregate(**{name: Sum(name, default=0) for name in SpentOut().fields})).data


class EndpointsView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[PageIn], responses={200: paged(EndpointOut)}, summary="Endpoints, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(_endpoints(request), request, EndpointOut)

    @extend_schema(
        request=EndpointIn,
        responses={201: EndpointOut},
        summary="Add an endpoint",
        examples=[
            OpenApiExample(
                "a server of your own",
                value={"name": "vLLM", "base_url": "http://127.0.0.1:8001/v1", "model": "Qwen/Qwen3-8B"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """A server that speaks OpenAI's chat completions. Test it next; then it can serve, or judge as an AI annotator."""
        given = valid(EndpointIn(data=request.data))
        try:
            endpoint = create_endpoint(project=request.project, by=request.user, **given)
        except EndpointRefused as refused:
            raise ValidationError(refused.fields) from None
        return Response(EndpointOut(endpoint).data, status=status.HTTP_201_CREATED)


class EndpointView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: EndpointAndSpentOut}, summary="An endpoint, and what it has cost")
    def get(self, request: Request, slug: str, endpoint_id: int) -> Response:
        return Response(EndpointAndSpentOut(find_endpoint(request, endpoint_id)).data)

    @extend_schema(request=ChangeEndpointIn, responses={200: EndpointAndSpentOut}, summary="Change an endpoint")
    def patch(self, request: Request, slug: str, endpoint_id: int) -> Response:
        """What is left out stays as it is. A key stays with its server: for another address it is to be sent again."""
        found = find_endpoint(request, endpoint_id)
        given = valid(ChangeEndpointIn(data=request.data, partial=True))
        stored = {name: getattr(found, name) for name in ("name", "base_url", "model", *SETTINGS)}
        try:
            change_endpoint(endpoint=found, **stored | given)
        except EndpointRefused as refused:
            raise ValidationError(refused.fields) from None
        return self.get(request, slug, endpoint_id)

    @extend_schema(responses={204: None}, summary="Remove an endpoint")
    def delete(self, request: Request, slug: str, endpoint_id: int) -> Response:
        """409 where a version stands for it or an AI annotator judges through it."""
        try:
            remove_endpoint(endpoint=find_endpoint(request, endpoint_id))
        except EndpointRefused as refused:
            raise Conflict(str(refused)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestEndpointView(ApiView):
    about = "endpoints"
    starts_work = True

    @extend_schema(request=None, responses={200: EndpointOut}, summary="Test an endpoint")
    def post(self, request: Request, slug: str, endpoint_id: int) -> Response:
        """Asks it a few short questions, at most for 20 seconds, and says in `tested` what it really does, or in
        `tested.error` what went wrong and what to do."""
        found = find_endpoint(request, endpoint_id)
        with suppress(EndpointError):  # it is stored, and answered
            probe_endpoint(found, patience=PATIENCE)
        return Response(EndpointOut(find_endpoint(request, endpoint_id)).data)


class ServeEndpointView(ApiView):
    about = "endpoints"

    @extend_schema(request=None, responses={200: VersionOut}, summary="Make an endpoint serve")
    def post(self, request: Request, slug: str, endpoint_id: int) -> Response:
        """The version that stands for it writes the pairs from now on."""
        version = serve_endpoint(endpoint=find_endpoint(request, endpoint_id), by=request.user)
        return Response(VersionOut(version, context={"serving": version}).data)


def _endpoints(request: Request):
    return request.project.endpoints.select_related("project").prefetch_related("versions")


def find_endpoint(request: Request, id: int) -> Endpoint:
    return get_object_or_404(_endpoints(request), pk=id)
