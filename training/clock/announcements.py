"""What webhooks are told of runs and versions. The tick's part: what has happened since one was made, and is not told yet."""

from datetime import datetime

from django.utils import timezone

from annotate.models import Webhook
from annotate.models.webhook import Event
from annotate.outgoing.webhooks import NEWS, announce, announce_judgements, deliver_due, forget_deliveries
from training.models import Promotion, Run
from training.models.job import JobState

OVER = [JobState.DONE, JobState.FAILED, JobState.CANCELLED]
LATEST = 50  # looked at, of each kind: more do not happen between two ticks


def tell_webhooks() -> None:
    hooks = list(Webhook.objects.active().select_related("project"))
    announce_judgements()
    for hook in hooks:
        if Event.RUN in hook.events:
            _announce_runs(hook)
        if Event.PROMOTION in hook.events:
            _announce_promotions(hook)
    deliver_due()
    forget_deliveries()


def _announce_runs(hook: Webhook) -> None:
    over = hook.project.runs.filter(state__in=OVER, finished_at__gt=_since(hook)).select_related("version")
    # A run that was resumed ends again: each end is told.
    happened = {f"{run.number}/{run.finished_at.timestamp():.0f}": _run(run) for run in over.order_by("-finished_at")[:LATEST]}
    announce(webhook=hook, event=Event.RUN, happened=happened)


def _run(run: Run) -> dict:
    version = getattr(run, "version", None)
    return {"run": run.number, "state": run.state, "version": version.number if version else None, "error": run.error}


def _announce_promotions(hook: Webhook) -> None:
    news = Promotion.objects.filter(project=hook.project, at__gt=_since(hook)).select_related("version")
    happened = {
        str(promotion.pk): {"version": promotion.version.number, "name": promotion.version.name, "why": promotion.why}
        for promotion in news[:LATEST]
    }
    announce(webhook=hook, event=Event.PROMOTION, happened=happened)


def _since(hook: Webhook) -> datetime:
    return max(hook.created_at, timezone.now() - NEWS)
