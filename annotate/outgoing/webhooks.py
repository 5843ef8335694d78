"""Webhooks: who is told of what, signed, and tried again when nobody answers.

The clock looks at what is there (`announce_judgements` here, runs and promotions in training/clock/announcements.py) and adds a
delivery for each event that has none; then `deliver_due` sends what is due. Nothing waits for a receiver: the sending has threads
of its own.
"""

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min, Q
from django.utils import timezone

from annotate.models import Delivery, Judgement, Project, User, Webhook
from annotate.models.webhook import DeliveryState, Event, make_salt
from annotate.outgoing.sending import AddressRefused, Answer, check_url, post

logger = logging.getLogger(__name__)

SIGNATURE = "Prefloop-Signature"
PAUSES = [timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2),
          timedelta(hours=6), timedelta(hours=12)]  # after each try that failed; then it is given up  # fmt: skip
CLAIMED_FOR = timedelta(minutes=1)  # a sender that died is forgotten after it
AT_ONCE = 8  # receivers that are spoken to at the same time
KEPT = timedelta(days=30)
NEWS = timedelta(days=7)  # what is older is not told any more
MOST_PER_PROJECT = 20


class WebhookRefused(Exception):
    """A webhook that was not stored; the text says why, `field` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


# -- whom to tell ------------------------------------------------------------------------------------------


@transaction.atomic
def add_webhook(*, project: Project, url: str, events: Collection[str], every: int = 100, by: User | None = None) -> Webhook:
    """Tells of what happens from now on. Raises WebhookRefused."""
    _check(url, events, every)
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if project.webhooks.filter(removed_at=None).count() >= MOST_PER_PROJECT:
        raise WebhookRefused("url", f"A project has {MOST_PER_PROJECT} webhooks at most. Remove one first.")
    standing = count_judgements(project)
    return project.webhooks.create(url=url, events=sorted(set(events)), every=every, counted_from=standing, by=by)


@transaction.atomic
def change_webhook(
    *, webhook: Webhook, url: str | None = None, events: Collection[str] | None = None, every: int | None = None,
    paused: bool | None = None,
) -> None:  # fmt: skip
    """What is None stays. Raises WebhookRefused."""
    url, events = webhook.url if url is None else url, webhook.events if events is None else events
    every, paused = webhook.every if every is None else every, webhook.paused if paused is None else paused
    _check(url, events, every)
    if every != webhook.every:
        webhook.counted_from = count_judgements(webhook.project)
    webhook.url, webhook.events, webhook.every, webhook.paused = url, sorted(set(events)), every, paused
    webhook.save(update_fields=["url", "events", "every", "paused", "counted_from"])


def remove_webhook(*, webhook: Webhook) -> None:
    """Nothing more is sent; what was sent stays to be seen."""
    Webhook.objects.filter(pk=webhook.pk, removed_at=None).update(removed_at=timezone.now())


def renew_secret(*, webhook: Webhook) -> str:
    """A new secret; the one before signs nothing any more."""
    webhook.salt = make_salt()
    webhook.save(update_fields=["salt"])
    return secret_of(webhook)


def secret_of(webhook: Webhook) -> str:
    key = f"webhook:{webhook.pk}:{webhook.salt}".encode()
    return "whs_" + hmac.new(settings.SECRET_KEY.encode(), key, hashlib.sha256).hexdigest()


def _check(url: str, events: Collection[str], every: int) -> None:
    if not events or not set(events) <= set(Event.values):
        raise WebhookRefused("events", f"Choose one or more of: {', '.join(Event.values)}.")
    if not 1 <= every <= 1_000_000:
        raise WebhookRefused("every", "A whole number from 1 to 1,000,000.")
    try:
        if len(url) > 500 or not url.isprintable() or " " in url:
            raise AddressRefused("This is no web address. Write it as https://example.org/path.")
        check_url(url, internal=settings.WEBHOOKS_MAY_BE_INTERNAL)
    except AddressRefused as refusal:
        raise WebhookRefused("url", str(refusal)) from None


# -- what to tell ------------------------------------------------------------------------------------------


def count_judgements(project: Project) -> int:
    return Judgement.objects.standing().filter(comparison__project=project).count()


def announce_judgements() -> None:
    """The tick's part: a delivery for the newest multiple of `every` that has been reached since a webhook was made."""
    telling = [hook for hook in Webhook.objects.active().select_related("project") if Event.JUDGEMENTS in hook.events]
    counts = {project: count_judgements(project) for project in {hook.project for hook in telling}}
    for hook in telling:
        reached = hook.counted_from + (counts[hook.project] - hook.counted_from) // hook.every * hook.every
        if reached > hook.counted_from:
            announce(webhook=hook, event=Event.JUDGEMENTS, happened={str(reached): {"judgements": reached}})


def announce(*, webhook: Webhook, event: Event, happened: Mapping[str, dict[str, Any]]) -> None:
    """A delivery for each of them (by what it is about: its data) that has none yet. Two queries at most."""
    known = set(webhook.deliveries.filter(event=event, subject__in=happened).values_list("subject", flat=True))
    at = timezone.now().isoformat(timespec="seconds")
    told = {"event": event.value, "project": webhook.project.slug, "at": at}
    new = [
        Delivery(webhook=webhook, event=event, subject=subject, body=json.dumps(told | {"data": data}, ensure_ascii=False))
        for subject, data in happened.items()
        if subject not in known
    ]
    Delivery.objects.bulk_create(new, ignore_conflicts=True)  # another clock may be telling it at this moment


# -- telling it --------------------------------------------------------------------------------------------


def deliver_due(*, wait: bool = False) -> int:
    """Claims what is due, one delivery for each webhook, and sends it in threads. Returns how many. `wait`: for the threads."""
    first = (
        Delivery.objects.due().filter(webhook__paused=False).values("webhook").annotate(pk=Min("pk")).values_list("pk", flat=True)
    )
    claimed = []
    for pk in list(first[:AT_ONCE]):
        # The pause after this try is the claim: whoever dies with it leaves it due again after a minute.
        taken = Delivery.objects.due().filter(pk=pk).update(next_try_at=timezone.now() + CLAIMED_FOR)
        claimed += [pk] * taken
    threads = [threading.Thread(target=_send_in_thread, args=[pk], daemon=True) for pk in claimed]
    for thread in threads:
        thread.start()
    for thread in threads if wait else []:
        thread.join()
    return len(threads)


def _send_in_thread(pk: int) -> None:
    try:
        send(delivery=Delivery.objects.select_related("webhook").get(pk=pk))
    except Exception:  # the database is away: the claim runs out, and it is tried again
        logger.exception("delivery %s", pk)
    finally:
        connection.close()


def send(*, delivery: Delivery) -> None:
    """One try. 2xx is delivered; anything else, a fault of ours too, is tried again later, until it is given up."""
    started = time.monotonic()
    status, said = None, ""
    try:
        answer = _post(delivery)
        status, said = answer.status, answer.text
    except AddressRefused as refusal:
        said = str(refusal)
    except Exception as error:  # whatever a stranger's server does
        said = f"{type(error).__name__}: {error}"
        if not isinstance(error, OSError | HTTPException):
            logger.exception("delivery %s", delivery.pk)
    _note(delivery, status, said, round(1000 * (time.monotonic() - started)))


def _post(delivery: Delivery) -> Answer:
    hook, body = delivery.webhook, delivery.body.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Prefloop-Webhook/1",
        "Prefloop-Event": delivery.event,
        "Prefloop-Delivery": str(delivery.pk),
        SIGNATURE: sign(body, secret_of(hook), at=int(time.time())),
    }
    return post(hook.url, body, headers, internal=settings.WEBHOOKS_MAY_BE_INTERNAL)


def _note(delivery: Delivery, status: int | None, said: str, milliseconds: int) -> None:
    now, tries = timezone.now(), delivery.tries + 1
    said = said.encode("utf-8", "replace").decode().replace("\0", "")[:500]
    good = status is not None and 200 <= status < 300
    over = good or tries > len(PAUSES)
    state = DeliveryState.DONE if good else DeliveryState.FAILED if over else DeliveryState.WAITING
    Delivery.objects.filter(pk=delivery.pk).update(
        state=state,
        tries=tries,
        tried_at=now,
        next_try_at=now if over else now + PAUSES[tries - 1],
        status=status,
        said=said,
        milliseconds=milliseconds,
    )
    if not good:
        logger.info("delivery %s to %s: %s", delivery.pk, urlsplit(delivery.webhook.url).hostname, status or said[:200])


def send_again(*, delivery: Delivery) -> None:
    """Due at once, with all its tries before it."""
    Delivery.objects.filter(pk=delivery.pk).update(state=DeliveryState.WAITING, tries=0, next_try_at=timezone.now())


def sign(body: bytes, secret: str, *, at: int) -> str:
    """`t=1700000000,v1=…`: HMAC-SHA256 with the secret, in hexadecimal digits, of the seconds, a full stop and the body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def forget_deliveries() -> None:
    """Those of counts stay: a count that was told once must not be told again."""
    old = Delivery.objects.filter(~Q(state=DeliveryState.WAITING), ~Q(event=Event.JUDGEMENTS))
    old.filter(created_at__lt=timezone.now() - KEPT).delete()


def webhooks_with_counts(project: Project):
    """Those in use, with how many deliveries wait and how many were given up."""
    waiting = Count("deliveries", filter=Q(deliveries__state=DeliveryState.WAITING))
    failed = Count("deliveries", filter=Q(deliveries__state=DeliveryState.FAILED))
    return project.webhooks.filter(removed_at=None).annotate(waiting=waiting, failed=failed).order_by("pk")
