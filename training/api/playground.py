"""The playground by program: a version answers, or two side by side; the texts can be read as they grow."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.given import MessagesField
from annotate.api.schema import paged
from training.models import Tryout, Version
from training.playground.asking import LARGEST_SEED, NoComparison, make_comparison, seed_by_chance, try_out
from training.versions.registry import serving_version

MOST_TOKENS = 4096


class TryOutIn(serializers.Serializer):
    prompt = MessagesField(help_text="A text, or the messages of a conversation, the last of them the user's.")
    first = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1,
        help_text="A version's number; the serving one if it is left out.",
    )  # fmt: skip
    second = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1,
        help_text="Another's, or the same again; nothing if it is left out.",
    )  # fmt: skip
    temperature = serializers.FloatField(required=False, min_value=0, max_value=5, help_text="The project's if it is left out.")
    top_p = serializers.FloatField(required=False, min_value=0.01, max_value=1, help_text="The project's if it is left out.")
    max_new_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=MOST_TOKENS, help_text="The project's if it is left out."
    )
    seed = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=LARGEST_SEED, help_text="By chance if left out."
    )


class TryoutOut(serializers.ModelSerializer):
    """`first_text` and `second_text` grow while `state` is `running`; `told` has tokens, finish reason, log π(y|x), dtype and
    seed of each side once it is `done`."""

    prompt = serializers.ListField(source="messages", child=serializers.DictField())
    first = serializers.IntegerField(source="first.number")
    second = serializers.SerializerMethodField()
    told = serializers.DictField()
    in_queue = serializers.SerializerMethodField(help_text="It is a comparison in the queue.")

    class Meta:
        model = Tryout
        fields = (
            "id", "state", "prompt", "first", "second", "first_text", "second_text", "told", "temperature", "top_p",
            "max_new_tokens", "seed", "in_queue", "error", "created_at", "finished_at",
        )  # fmt: skip

    def get_second(self, tryout: Tryout) -> int | None:
        return tryout.second.number if tryout.second else None

    def get_in_queue(self, tryout: Tryout) -> bool:
        return tryout.comparison_id is not None


ASKED = {"prompt": "Why is the sky blue?", "first": 1, "second": 0, "temperature": 0.7}


class PlaygroundView(ApiView):
    may = "may_manage"
    starts_work = True

    @extend_schema(parameters=[PageIn], responses={200: paged(TryoutOut)}, summary="What was asked in the playground")
    def get(self, request: Request, slug: str) -> Response:
        """The newest first."""
        return page_of(tryouts_of(request), request, TryoutOut)

    @extend_schema(
        request=TryOutIn,
        responses={202: TryoutOut},
        summary="Ask one version or two",
        examples=[OpenApiExample("two versions", value=ASKED, request_only=True)],
    )
    def post(self, request: Request, slug: str) -> Response:
        """A worker writes at once, before all other work. Ask for `playground/{id}/` with its `ETag` every half second: the
        texts grow until `state` is `done`. Nothing of it enters the project unless you make it a comparison."""
        given = valid(TryOutIn(data=request.data))
        first = self.find_version(request, given, "first") or serving_version(request.project)
        if first is None or first.is_endpoint:
            raise Conflict("No version with weights serves. Name one as `first`, or add a model.")
        seed = given["seed"] if given["seed"] is not None else seed_by_chance()
        how = {name: given.get(name, getattr(request.project, name)) for name in ("temperature", "top_p", "max_new_tokens")}
        second = self.find_version(request, given, "second")
        tryout = try_out(
            project=request.project, by=request.user, messages=given["prompt"], first=first, second=second, seed=seed, **how
        )
        return Response(TryoutOut(tryout).data, status=status.HTTP_202_ACCEPTED)

    def find_version(self, request: Request, given: dict[str, Any], field: str) -> Version | None:
        """The one of that number. Endpoints and versions without their files cannot be asked here, as on the page."""
        if given[field] is None:
            return None
        version = Version.objects.of(request.project).trainable().filter(number=given[field]).first()
        if version is None:
            raise ValidationError({field: [f"There is no version {given[field]} with weights in this project."]})
        return version


class TryoutView(ApiView):
    may = "may_manage"
    has_etag = True
    about = "playground"

    @extend_schema(responses={200: TryoutOut}, summary="The answers, as they grow")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(TryoutOut(find_tryout(request, id)).data)


class CompareTryoutView(ApiView):
    about = "playground"

    @extend_schema(request=None, responses={200: TryoutOut}, summary="Make this a comparison")
    def post(self, request: Request, slug: str, id: int) -> Response:
        """Both answers go into the queue, before the others, in an order by chance. Twice is the same as once. 409: there are
        not two whole, different answers."""
        try:
            make_comparison(tryout=find_tryout(request, id))
        except NoComparison as refusal:
            raise Conflict(str(refusal)) from None
        return Response(TryoutOut(find_tryout(request, id)).data)


def tryouts_of(request: Request):
    return request.project.tryouts.select_related("project", "first", "second")


def find_tryout(request: Request, id: int) -> Tryout:
    return get_object_or_404(tryouts_of(request), pk=id)
