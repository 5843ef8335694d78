"""A project's webhooks: who is told of what, what was sent, and sending it again."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.outgoing.webhooks import (
    WebhookRefused,
    add_webhook,
    change_webhook,
    remove_webhook,
    renew_secret,
    secret_of,
    send_again,
    webhooks_with_counts,
)

from ..access import ProjectRequest, project_view
from ..models import Webhook
from ..models.webhook import Event

SHOWN = 100


class WebhookForm(forms.Form):
    url = forms.CharField(max_length=500, label="Address", help_text="Gets a POST with JSON: https://example.org/prefloop.")
    events = forms.MultipleChoiceField(
        choices=Event.choices,
        widget=forms.CheckboxSelectMultiple,
        label="Tell it",
        error_messages={"required": "Tick at least one."},
    )
    every = forms.IntegerField(min_value=1, max_value=1_000_000, initial=100, label="Judgements from one notice to the next")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def webhooks(request: ProjectRequest) -> HttpResponse:
    """The list. POST adds one and shows its secret, this once."""
    form = WebhookForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return render_webhooks(request, form, status=422 if form.errors else 200)
    try:
        hook = add_webhook(project=request.project, by=request.user, **form.cleaned_data)
    except WebhookRefused as refusal:
        form.add_error(refusal.field, str(refusal))
        return render_webhooks(request, form, status=422)
    return render_webhooks(request, WebhookForm(), made=hook, secret=secret_of(hook))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def webhook(request: ProjectRequest, webhook_id: int) -> HttpResponse:
    """What was sent. POST changes the webhook."""
    hook = find_webhook(request, webhook_id)
    stored = {"url": hook.url, "events": hook.events, "every": hook.every}
    form = WebhookForm(request.POST if request.method == "POST" else None, initial=stored)
    if request.method != "POST" or not form.is_valid():
        return render_webhook(request, hook, form, status=422 if form.errors else 200)
    try:
        change_webhook(webhook=hook, **form.cleaned_data)
    except WebhookRefused as refusal:
        form.add_error(refusal.field, str(refusal))
        return render_webhook(request, hook, form, status=422)
    messages.success(request, "Saved.")
    return redirect("webhook", request.project.slug, hook.pk)


@require_POST
@project_view(may="may_manage")
def webhook_pause(request: ProjectRequest, webhook_id: int) -> HttpResponse:
    """Stops telling it, or, if it is paused, goes on with what has happened since."""
    hook = find_webhook(request, webhook_id)
    change_webhook(webhook=hook, paused=not hook.paused)
    messages.success(request, "Paused: nothing is sent." if hook.paused else "It is told again, also of what happened meanwhile.")
    return redirect("webhook", request.project.slug, hook.pk)


@never_cache
@require_POST
@project_view(may="may_manage")
def webhook_secret(request: ProjectRequest, webhook_id: int) -> HttpResponse:
    hook = find_webhook(request, webhook_id)
    secret = renew_secret(webhook=hook)
    return render_webhook(request, hook, _stored(hook), secret=secret)


@require_POST
@project_view(may="may_manage")
def webhook_remove(request: ProjectRequest, webhook_id: int) -> HttpResponse:
    remove_webhook(webhook=find_webhook(request, webhook_id))
    messages.success(request, "The webhook is removed: nothing more is sent there.")
    return redirect("webhooks", request.project.slug)


@require_POST
@project_view(may="may_manage")
def delivery_again(request: ProjectRequest, webhook_id: int, delivery_id: int) -> HttpResponse:
    hook = find_webhook(request, webhook_id)
    send_again(delivery=get_object_or_404(hook.deliveries, pk=delivery_id))
    messages.success(request, "It is sent again in a moment.")
    return redirect("webhook", request.project.slug, hook.pk)


def find_webhook(request: ProjectRequest, webhook_id: int) -> Webhook:
    return get_object_or_404(request.project.webhooks.select_related("project"), pk=webhook_id, removed_at=None)


def _stored(hook: Webhook) -> WebhookForm:
    return WebhookForm(initial={"url": hook.url, "events": hook.events, "every": hook.every})


def render_webhooks(request: ProjectRequest, form: WebhookForm, status: int = 200, **context: Any) -> HttpResponse:
    context |= {"form": form, "webhooks": webhooks_with_counts(request.project), "labels": dict(Event.choices)}
    return render(request, "annotate/webhooks.html", context, status=status)


def render_webhook(request: ProjectRequest, hook: Webhook, form: WebhookForm, status: int = 200, **context: Any) -> HttpResponse:
    context |= {"form": form, "webhook": hook, "deliveries": hook.deliveries.order_by("-pk")[:SHOWN]}
    return render(request, "annotate/webhook.html", context, status=status)
