"""Webhooks by program: the same functions as the page calls."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.outgoing.webhooks import WebhookRefused, add_webhook, change_webhook, remove_webhook, secret_of, send_again

from ..models import Delivery, Webhook
from ..models.webhook import Event
from .base import ApiView, PageIn, page_of, valid
from .schema import paged


class WebhookIn(serializers.Serializer):
    url = serializers.CharField(max_length=500)
    events = serializers.ListField(child=serializers.ChoiceField(choices=Event.choices), min_length=1, max_length=len(Event))
    every = serializers.IntegerField(default=100, min_value=1, max_value=1_000_000, help_text="Judgements between two notices.")


class ChangeWebhookIn(WebhookIn):
    every = serializers.IntegerField(min_value=1, max_value=1_000_000)
    paused = serializers.BooleanField()


class WebhookOut(serializers.ModelSerializer):
    events = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Webhook
        fields = ("id", "url", "events", "every", "paused", "created_at")


class NewWebhookOut(WebhookOut):
    secret = serializers.CharField(help_text="Signs the messages. It is shown here and never again.")

    class Meta(WebhookOut.Meta):
        fields = (*WebhookOut.Meta.fields, "secret")


class DeliveryOut(serializers.ModelSerializer):
    class Meta:
        model = Delivery
        fields = (
            "id", "event", "subject", "body", "state", "tries", "next_try_at", "tried_at", "status", "said", "milliseconds",
            "created_at",
        )  # fmt: skip


class WebhooksView(ApiView):
    may = "may_manage"
    keeps_answers = False  # the answer to a POST holds a secret

    @extend_schema(parameters=[PageIn], responses={200: paged(WebhookOut)}, summary="Webhooks")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(request.project.webhooks.filter(removed_at=None), request, WebhookOut)

    @extend_schema(request=WebhookIn, responses={201: NewWebhookOut}, summary="Add a webhook")
    def post(self, request: Request, slug: str) -> Response:
        """It is told of what happens from now on, by POSTs signed with its secret (docs/api.md)."""
        try:
            hook = add_webhook(project=request.project, by=request.user, **valid(WebhookIn(data=request.data)))
        except WebhookRefused as refusal:
            raise ValidationError({refusal.field: [str(refusal)]}) from None
        hook.secret = secret_of(hook)
        return Response(NewWebhookOut(hook).data, status=status.HTTP_201_CREATED)


class WebhookView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: WebhookOut}, summary="A webhook")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(WebhookOut(find_webhook(request, id)).data)

    @extend_schema(request=ChangeWebhookIn, responses={200: WebhookOut}, summary="Change or pause a webhook")
    def patch(self, request: Request, slug: str, id: int) -> Response:
        """What is left out stays as it is."""
        hook = find_webhook(request, id)
        try:
            change_webhook(webhook=hook, **valid(ChangeWebhookIn(data=request.data, partial=True)))
        except WebhookRefused as refusal:
            raise ValidationError({refusal.field: [str(refusal)]}) from None
        return Response(WebhookOut(hook).data)

    @extend_schema(responses={204: None}, summary="Remove a webhook")
    def delete(self, request: Request, slug: str, id: int) -> Response:
        """Nothing more is sent there."""
        remove_webhook(webhook=find_webhook(request, id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeliveriesView(ApiView):
    may = "may_manage"
    about = "webhooks"

    @extend_schema(parameters=[PageIn], responses={200: paged(DeliveryOut)}, summary="What was sent to a webhook")
    def get(self, request: Request, slug: str, id: int) -> Response:
        """The newest first; 30 days of it."""
        return page_of(find_webhook(request, id).deliveries.all(), request, DeliveryOut)


class SendAgainView(ApiView):
    about = "webhooks"

    @extend_schema(request=None, responses={200: DeliveryOut}, summary="Send something again")
    def post(self, request: Request, slug: str, id: int, delivery: int) -> Response:
        found = get_object_or_404(find_webhook(request, id).deliveries, pk=delivery)
        send_again(delivery=found)
        found.refresh_from_db()
        return Response(DeliveryOut(found).data)


def find_webhook(request: Request, id: int) -> Webhook:
    return get_object_or_404(request.project.webhooks.select_related("project"), pk=id, removed_at=None)
