"""The leaderboard by program: the figures of its page."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView
from training.leaderboard.counting import is_due, rows_of
from training.models import Leaderboard


class RankedOut(serializers.Serializer):
    rank = serializers.IntegerField(help_text="Those that cannot be told apart share one.")
    name = serializers.CharField()
    version = serializers.IntegerField(allow_null=True, help_text="Its number; null: an imported model.")
    rating = serializers.FloatField(help_text="Bradley–Terry on Elo's scale; the mean of all is 1000.")
    low = serializers.FloatField(help_text="95 % bootstrap interval, from here …")
    high = serializers.FloatField(help_text="… to here; ±9999: not known.")
    win_rate = serializers.FloatField(help_text="Against whomever it met; a tie is half.")
    wins = serializers.IntegerField()
    ties = serializers.IntegerField()
    losses = serializers.IntegerField()


class LeaderboardOut(serializers.Serializer):
    rows = RankedOut(many=True, help_text="Best first.")
    battles = serializers.IntegerField(help_text="Judgements of two answers by different, known authors.")
    prompts = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text="Judgements left out: nobody knows who wrote one of the answers.")
    counted_at = serializers.DateTimeField(allow_null=True, help_text="Null: never yet.")
    is_due = serializers.BooleanField(help_text="There are newer judgements; a worker counts them.")


class LeaderboardView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: LeaderboardOut}, summary="The leaderboard")
    def get(self, request: Request, slug: str) -> Response:
        """Every version and imported model on one scale, by all that was judged, as a worker counted it last."""
        found = Leaderboard.objects.filter(project=request.project).first() or Leaderboard(battles=0, prompts=0, rows=[])
        return Response(LeaderboardOut({
            "rows": rows_of(found), "battles": found.battles, "prompts": found.prompts, "unknown": found.unknown,
            "counted_at": found.counted_at, "is_due": is_due(request.project),
        }).data)  # fmt: skip
