"""Ratings of single answers by program: rate, as the page does; or push what people said elsewhere."""

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.data.batches import start_batch
from annotate.data.rating_imports import FORMAT, store_ratings
from annotate.judging.ratings import explain_no_rating, next_rating, rate, skip_rating, take_back_rating
from annotate.judging.refusals import JudgementRefused

from ..formats.kto import RatedRow
from ..forms import DAY
from ..models import Rating
from .base import ApiView, PageIn, cut_page_by_time, valid
from .given import AnswerTextField, MessagesField
from .judging import refused
from .schema import paged
from .serializers import MessageOut

AT_ONCE = 500


class ShownAnswerOut(serializers.Serializer):
    """As blind as the page: the words and the name of the rating."""

    rating = serializers.UUIDField(allow_null=True, help_text="null when there is none; `message` says why.")
    messages = MessageOut(many=True, required=False)
    text = serializers.CharField(required=False)
    message = serializers.CharField(required=False)


class RateIn(serializers.Serializer):
    rating = serializers.UUIDField()
    good = serializers.BooleanField(required=False, allow_null=True, default=None, help_text="true: thumbs up. Null: skip it.")
    seconds = serializers.FloatField(required=False, allow_null=True, default=None, min_value=0, max_value=DAY)


class RatingOut(serializers.ModelSerializer):
    class Meta:
        model = Rating
        fields = ("id", "good", "seconds", "answered_at")


class PushedRatingIn(serializers.Serializer):
    prompt = MessagesField()
    text = AnswerTextField()
    good = serializers.BooleanField()
    model = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    annotator = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200, help_text="Who said it: kept as a pseudonym."
    )


class PushRatingsIn(serializers.Serializer):
    ratings = PushedRatingIn(many=True, max_length=AT_ONCE, allow_empty=False)
    source = serializers.CharField(required=False, allow_blank=True, default="api", max_length=190)


class PushedRatingsOut(serializers.Serializer):
    added = serializers.IntegerField()
    known = serializers.IntegerField()
    batch = serializers.IntegerField(help_text="The import under which the data page shows and undoes them.")


class RatingView(ApiView):
    may = may_write = "may_judge"
    scope = "judge"
    about = "ratings"


class NextRatingView(RatingView):
    @extend_schema(request=None, responses={200: ShownAnswerOut}, summary="The next answer to rate")
    def post(self, request: Request, slug: str) -> Response:
        return Response(_shown(request, next_rating(project=request.project, annotator=request.user)))


class RatingsView(RatingView):
    @extend_schema(parameters=[PageIn], responses={200: paged(RatingOut)}, summary="Your own ratings, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        own = Rating.objects.given().filter(annotator=request.user, completion__prompt__project=request.project)
        page, more = cut_page_by_time(own, request, by="answered_at")
        return Response({"results": RatingOut(page, many=True).data, "next": more})

    @extend_schema(request=RateIn, responses={201: RatingOut}, summary="Rate an answer")
    def post(self, request: Request, slug: str) -> Response:
        """Stored once: sent again, the answer is the rating that stands."""
        given = valid(RateIn(data=request.data))
        try:
            if given["good"] is None:
                skip_rating(annotator=request.user, rating_id=given["rating"])
                rating = Rating.objects.get(pk=given["rating"])
            else:
                rating = rate(annotator=request.user, rating_id=given["rating"], good=given["good"], seconds=given["seconds"])
        except JudgementRefused as refusal:
            return refused(refusal)
        return Response(RatingOut(rating).data, status=status.HTTP_201_CREATED)


class UndoRatingView(RatingView):
    @extend_schema(request=None, responses={200: ShownAnswerOut}, summary="Take back the last rating")
    def post(self, request: Request, slug: str) -> Response:
        rating = take_back_rating(project=request.project, annotator=request.user)
        if rating is None:
            return refused(JudgementRefused("nothing_to_undo", "There is no rating of yours to take back."))
        return Response(_shown(request, rating))


class PushRatingsView(ApiView):
    about = "ratings"

    @extend_schema(
        request=PushRatingsIn,
        responses={201: PushedRatingsOut},
        summary="Push ratings",
        examples=[
            OpenApiExample(
                "thumbs from a product",
                value={"ratings": [{"prompt": "Why is the sky blue?", "text": "It reflects the sea.", "good": False}]},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        """What people said of single answers elsewhere: 1 to 500, all or none. Each push is an import that can be undone."""
        given = valid(PushRatingsIn(data=request.data))
        rows = [
            RatedRow(place, row["prompt"], row["text"], row["good"], row["model"], row["annotator"])
            for place, row in enumerate(given["ratings"])
        ]
        with transaction.atomic():
            batch = start_batch(request.project, given["source"] or "api", FORMAT, request.user)
            bad = store_ratings(batch=batch, rows=rows)
            batch.save()
            if bad:
                transaction.set_rollback(True)
        if bad:
            raise ValidationError({"ratings": {str(row.line): [f"{row.reason} {row.next_step}"] for row in bad}})
        out = {"added": batch.judgements, "known": batch.known, "batch": batch.number}
        return Response(PushedRatingsOut(out).data, status=status.HTTP_201_CREATED)


def _shown(request: Request, rating: Rating | None) -> dict:
    if rating is None:
        return {"rating": None, "message": explain_no_rating(project=request.project, annotator=request.user)}
    completion = rating.completion
    return {"rating": str(rating.pk), "messages": completion.prompt.messages, "text": completion.text}
