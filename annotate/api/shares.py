"""Shares, as the API gives them."""

from rest_framework import serializers

from annotate.quality.shares import Share


class ShareOut(serializers.Serializer):
    """`count` of `of`, and the 95 % interval of that by Wilson; null where there is nothing to have a share of."""

    count = serializers.IntegerField()
    of = serializers.IntegerField()
    value = serializers.FloatField(allow_null=True)
    low = serializers.SerializerMethodField()
    high = serializers.SerializerMethodField()

    def get_low(self, share: Share) -> float | None:
        return share.range[0] if share.of else None

    def get_high(self, share: Share) -> float | None:
        return share.range[1] if share.of else None
