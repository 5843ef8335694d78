"""Gold by program: which pairs have a known answer, what is right of them, how people do on them. The page's functions."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.gold.calibration import excuse
from annotate.gold.known_answers import MAX_REASON, GoldRefused, accuracy_on, expected_in_words, mark_gold, unmark_gold
from annotate.gold.lists import Checked, list_people, shown_pairs
from annotate.quality.shares import Share

from ..models import Comparison
from ..models.comparison import Purpose
from ..models.gold import BEST, WORST
from ..models.scale import Grades
from .base import ApiView, Conflict, PageIn, cut_page, valid
from .members import find_member
from .schema import paged
from .shares import ShareOut

SHOWN = {"gold": "Gold", "suggested": "People agree on it", "all": "All pairs that can be gold"}


class GoldWhich(PageIn):
    show = serializers.ChoiceField(choices=list(SHOWN.items()), required=False, default="gold")
    containing = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200, help_text="Only prompts that hold these words."
    )


class GoldIn(serializers.Serializer):
    low = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=WORST, max_value=BEST,
        help_text="The answers that are right, from here …",
    )  # fmt: skip
    high = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=WORST, max_value=BEST, help_text="… to here."
    )
    accepts_both_bad = serializers.BooleanField(default=False)
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=MAX_REASON,
        help_text="Annotators read it after their answer, where the project gives feedback.",
    )  # fmt: skip


class GoldOut(serializers.Serializer):
    """`low`, `high` and `right` are null or empty while the pair is not gold."""

    comparison = serializers.IntegerField(source="pk")
    prompt = serializers.IntegerField(source="prompt_id")
    text = serializers.CharField(source="prompt.last_message", help_text="The prompt's last message.")
    is_gold = serializers.SerializerMethodField()
    low = serializers.SerializerMethodField()
    high = serializers.SerializerMethodField()
    accepts_both_bad = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()
    right = serializers.SerializerMethodField(help_text="In words, with the first completion as A.")
    accuracy = serializers.SerializerMethodField(help_text="Of the answers it got as gold.")

    def get_is_gold(self, comparison: Comparison) -> bool:
        return comparison.purpose == Purpose.GOLD

    def get_low(self, comparison: Comparison) -> int | None:
        return self._known(comparison, "low")

    def get_high(self, comparison: Comparison) -> int | None:
        return self._known(comparison, "high")

    def get_accepts_both_bad(self, comparison: Comparison) -> bool:
        return bool(self._known(comparison, "accepts_both_bad"))

    def get_reason(self, comparison: Comparison) -> str:
        return self._known(comparison, "reason") or ""

    def get_right(self, comparison: Comparison) -> str:
        if not (self.get_is_gold(comparison) and hasattr(comparison, "gold")):
            return ""
        return expected_in_words(comparison.gold, grades=Grades(self.context["grades"]))

    @extend_schema_field(ShareOut)
    def get_accuracy(self, comparison: Comparison) -> dict:
        return ShareOut(self.context["accuracy"].get(comparison.pk, Share(0, 0))).data

    def _known(self, comparison: Comparison, name: str) -> Any:
        return getattr(comparison.gold, name) if self.get_is_gold(comparison) and hasattr(comparison, "gold") else None


class CheckedOut(serializers.Serializer):
    """A member who judges."""

    username = serializers.CharField(source="membership.user.username")
    name = serializers.CharField()
    accuracy = ShareOut(help_text="Of their answers to what is gold now.")
    calibration = serializers.CharField(source="membership.calibration", help_text="Empty: not over, or none is asked for.")
    is_stopped = serializers.BooleanField(help_text="Gets no work: too few of the first known answers were right.")


class CheckedPeopleOut(serializers.Serializer):
    people = CheckedOut(many=True)


class GoldListView(ApiView):
    may = "may_manage"
    about = "gold"

    @extend_schema(parameters=[GoldWhich], responses={200: paged(GoldOut)}, summary="Pairs with a known answer, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        """Or those that could become gold: `suggested` are done pairs on which two people or more agree."""
        asked = valid(GoldWhich(data=request.query_params))
        pairs = shown_pairs(project=request.project, show=asked["show"], containing=asked["containing"])
        page, more = cut_page(pairs.select_related("prompt", "gold"), request)
        return Response({"results": _out(request, page), "next": more})


class GoldView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: GoldOut}, summary="A pair that is or could be gold")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(_out(request, [_find(request, id)])[0])

    @extend_schema(
        request=GoldIn,
        responses={200: GoldOut},
        summary="Make a pair gold, or change what is right of it",
        examples=[
            OpenApiExample(
                "the first answer is better",
                value={"low": 1, "high": 4, "reason": "The second one names a sea that is not there."},
                request_only=True,
            )
        ],
    )
    def put(self, request: Request, slug: str, id: int) -> Response:
        """What is right lies on one line: 4 says that the first completion is significantly better, 0 a tie, −4 that the
        second one is. Give the range that is right, or only `accepts_both_bad`. The pair gives no triple while it is gold."""
        found = _find(request, id)
        try:
            mark_gold(comparison=found, by=request.user, **valid(GoldIn(data=request.data)))
        except GoldRefused as refusal:
            raise Conflict(str(refusal)) from None
        return self.get(request, slug, id)

    @extend_schema(responses={204: None}, summary="Make a pair gold no more")
    def delete(self, request: Request, slug: str, id: int) -> Response:
        """The answers it got stay in the record and make no triple."""
        unmark_gold(comparison=_find(request, id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class GoldPeopleView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: CheckedPeopleOut}, summary="How members do on known answers")
    def get(self, request: Request, slug: str) -> Response:
        return Response(CheckedPeopleOut({"people": list_people(request.project)}).data)


class ExcuseView(ApiView):
    about = "gold"

    @extend_schema(request=None, responses={200: CheckedOut}, summary="Give work whatever the calibration says")
    def post(self, request: Request, slug: str, username: str) -> Response:
        membership = find_member(request, username)
        excuse(membership=membership)
        known = {each.membership.user_id: each for each in list_people(request.project)}
        return Response(CheckedOut(known.get(membership.user_id) or Checked(membership, Share(0, 0), False)).data)


def _pairs(request: Request) -> QuerySet[Comparison]:
    return shown_pairs(project=request.project, show="all").select_related("prompt", "gold", "first", "second")


def _find(request: Request, id: int) -> Comparison:
    return get_object_or_404(_pairs(request), pk=id)


def _out(request: Request, pairs: list[Comparison]) -> list[dict]:
    context = {"accuracy": accuracy_on([pair.pk for pair in pairs]), "grades": request.project.grades}
    return GoldOut(pairs, many=True, context=context).data
