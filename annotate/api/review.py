"""Review by program: the comparisons in dispute, what was said of one, and what a manager decides. The page's functions."""

from typing import Any

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.review.cases import Case, Entry, all_decisions, open_case
from annotate.review.decisions import (
    MAX_WHY,
    MOST_MORE,
    ReviewRefused,
    ask_for_more,
    in_words,
    leave_as_it_is,
    settle_comparison,
    take_back_decision,
    withdraw_judgement,
)

from ..models import Decision, Dispute, Judgement
from ..models.judgement import Outcome
from ..models.review import DecisionKind, Reason
from ..models.scale import Grades
from .base import ApiView, Conflict, PageIn, page_of, valid
from .pairs import GivenJudgementOut
from .prompts import MessagesOutField
from .schema import paged


class DisputesWhich(PageIn):
    reason = serializers.ChoiceField(choices=Reason.choices, required=False)


class DisputeOut(serializers.ModelSerializer):
    comparison = serializers.IntegerField(source="pk")
    text = serializers.CharField(source="comparison.prompt.last_message", help_text="The prompt's last message.")
    reasons = serializers.ListField(child=serializers.ChoiceField(choices=Reason.choices))
    confidence = serializers.FloatField(allow_null=True, help_text="Of the likeliest answer, when last estimated.")

    class Meta:
        model = Dispute
        fields = ("comparison", "text", "reasons", "confidence", "found_at", "handled_at")


class DecisionOut(serializers.ModelSerializer):
    comparison = serializers.IntegerField(source="comparison_id")
    judgement = serializers.UUIDField(source="judgement.key", allow_null=True, default=None, help_text="That was withdrawn.")
    by = serializers.CharField(source="by.username")
    words = serializers.SerializerMethodField()
    taken_back_by = serializers.CharField(source="taken_back_by.username", allow_null=True, default=None)

    class Meta:
        model = Decision
        fields = (
            "id", "comparison", "kind", "outcome", "strength", "grades", "more", "judgement", "why", "words", "by", "created_at",
            "taken_back_at", "taken_back_by",
        )  # fmt: skip

    def get_words(self, decision: Decision) -> str:
        return in_words(decision)


class SaidOut(GivenJudgementOut):
    """A judgement, and what became of it: counts, over-ruled, withdrawn (by a manager) or taken back (by its annotator)."""

    standing = serializers.CharField()

    class Meta(GivenJudgementOut.Meta):
        fields = (*GivenJudgementOut.Meta.fields, "standing")


class CaseOut(serializers.Serializer):
    comparison = serializers.IntegerField(source="comparison.pk")
    messages = MessagesOutField(source="comparison.prompt.messages")
    first = serializers.CharField(source="comparison.first.text")
    second = serializers.CharField(source="comparison.second.text")
    is_waiting = serializers.BooleanField(help_text="It is in dispute and nobody has decided yet.")
    reasons = serializers.SerializerMethodField()
    left = serializers.IntegerField(help_text="Judgements it still waits for.")
    judgements = serializers.SerializerMethodField()
    decisions = serializers.SerializerMethodField(help_text="The newest first.")

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(choices=Reason.choices)))
    def get_reasons(self, case: Case) -> list[str]:
        return [reason.value for reason in case.dispute.reasons] if case.dispute else []

    @extend_schema_field(SaidOut(many=True))
    def get_judgements(self, case: Case) -> list[dict]:
        return SaidOut([_said(entry) for entry in case.entries], many=True).data

    @extend_schema_field(DecisionOut(many=True))
    def get_decisions(self, case: Case) -> list[dict]:
        return DecisionOut([decision for decision, _ in case.decisions], many=True).data


class DecideIn(serializers.Serializer):
    """`settled` needs `outcome`, `strength` unless it is a tie or both bad, and `why`; `asked_more` needs `more`; `withdrew`
    needs `judgement` and `why`; `left` needs nothing."""

    kind = serializers.ChoiceField(choices=DecisionKind.choices)
    outcome = serializers.ChoiceField(choices=Outcome.choices, required=False, help_text="In stored order.")
    strength = serializers.IntegerField(required=False, default=1, min_value=0, max_value=4, help_text="By the project's grades.")
    more = serializers.IntegerField(required=False, min_value=1, max_value=MOST_MORE)
    judgement = serializers.UUIDField(required=False, help_text="Its key.")
    why = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_WHY)
    seen = serializers.IntegerField(
        required=False, default=0, min_value=0, max_value=2**62,
        help_text="The newest decision you know of. One that somebody else has made since refuses yours: look again.",
    )  # fmt: skip

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        needed = {DecisionKind.SETTLED: "outcome", DecisionKind.ASKED_MORE: "more", DecisionKind.WITHDREW: "judgement"}
        if (name := needed.get(given["kind"])) and name not in given:
            raise serializers.ValidationError({name: ["Needed for this kind of decision."]})
        if given["kind"] in (DecisionKind.SETTLED, DecisionKind.WITHDREW) and not given["why"]:
            raise serializers.ValidationError({"why": ["Say why: it stays in the record."]})
        return given


class ReviewView(ApiView):
    may = "may_manage"
    about = "review"

    @extend_schema(parameters=[DisputesWhich], responses={200: paged(DisputeOut)}, summary="Comparisons in dispute")
    def get(self, request: Request, slug: str) -> Response:
        """Those that wait for a decision, the oldest comparisons first."""
        reason = valid(DisputesWhich(data=request.query_params)).get("reason", "")
        rows = Dispute.objects.waiting(reason).filter(project=request.project).select_related("comparison__prompt")
        return page_of(rows, request, DisputeOut, newest_first=False)


class DecisionsView(ApiView):
    may = "may_manage"
    about = "review"

    @extend_schema(parameters=[PageIn], responses={200: paged(DecisionOut)}, summary="What was decided, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(all_decisions(request.project), request, DecisionOut)


class ReviewCaseView(ApiView):
    may = "may_manage"
    about = "review"

    @extend_schema(responses={200: CaseOut}, summary="Everything that was said of a comparison")
    def get(self, request: Request, slug: str, comparison: int) -> Response:
        """Any training comparison that somebody has judged, in dispute or not."""
        return Response(CaseOut(find_case(request, comparison)).data)


class DecideView(ApiView):
    about = "review"

    @extend_schema(
        request=DecideIn,
        responses={201: DecisionOut},
        summary="Decide",
        examples=[
            OpenApiExample(
                "settle", value={"kind": "settled", "outcome": "first", "strength": 1, "why": "It is right."}, request_only=True
            ),
            OpenApiExample("two more", value={"kind": "asked_more", "more": 2}, request_only=True),
        ],
    )
    def post(self, request: Request, slug: str, comparison: int) -> Response:
        """Settle it, whatever was judged; ask for more judgements; leave it as it is; or withdraw one judgement."""
        find_case(request, comparison)
        given = valid(DecideIn(data=request.data))
        try:
            decision = _decide(request, comparison, given)
        except ReviewRefused as refusal:
            raise Conflict(str(refusal)) from None
        return Response(DecisionOut(decision).data, status=status.HTTP_201_CREATED)


class DecisionView(ApiView):
    about = "review"

    @extend_schema(responses={200: DecisionOut}, summary="Take a decision back")
    def delete(self, request: Request, slug: str, comparison: int, decision: int) -> Response:
        """The row stays and says who took it back. Judgements that were asked for cannot be taken back."""
        find_case(request, comparison)
        found = get_object_or_404(Decision, pk=decision, comparison=comparison)
        try:
            return Response(DecisionOut(take_back_decision(decision=found, by=request.user)).data)
        except ReviewRefused as refusal:
            raise Conflict(str(refusal)) from None


def find_case(request: Request, comparison: int) -> Case:
    case = open_case(project=request.project, comparison_id=comparison)
    if case is None:
        raise Http404("No such comparison, or nobody has judged it.")
    return case


def _decide(request: Request, comparison: int, given: dict[str, Any]) -> Decision:
    what = {"comparison_id": comparison, "by": request.user, "why": given["why"], "seen": given["seen"]}
    if given["kind"] == DecisionKind.SETTLED:
        grades = Grades(request.project.grades)
        return settle_comparison(outcome=given["outcome"], strength=given["strength"], grades=grades, **what)
    if given["kind"] == DecisionKind.ASKED_MORE:
        return ask_for_more(more=given["more"], **what)
    if given["kind"] == DecisionKind.LEFT:
        return leave_as_it_is(**what)
    judgement = Judgement.objects.filter(comparison=comparison, key=given["judgement"]).first()
    if judgement is None:
        raise ValidationError({"judgement": ["This comparison has no such judgement."]})
    return withdraw_judgement(judgement=judgement, by=request.user, why=given["why"])


def _said(entry: Entry) -> Judgement:
    entry.judgement.standing = entry.state
    return entry.judgement
