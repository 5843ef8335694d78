"""Figures that are kept up to date while nobody asks for them: the clock looks whether they are due, a worker makes them."""

from collections.abc import Callable
from datetime import timedelta

from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone
from django_tasks.base import Task

from annotate.models import Project
from annotate.models.project import Consensus
from annotate.projects.progress import keep_pairs
from annotate.quality.counts import count_on, is_kept
from annotate.quality.reliability import is_current, stored_estimate
from training import tasks
from training.datasets import kept_previews
from training.generation.unanswered import note_all_answered
from training.versions.registry import serving_version

LOOK_EVERY = 30  # seconds between two looks at one project's figures
ESTIMATE_EVERY = timedelta(minutes=2)


def estimate_reliabilities(is_coming: Callable[[Task, int], bool]) -> None:
    """Where several people judge a comparison, or the rule needs it, after judgements have come or gone."""
    several = Q(judgements_required__gt=1) | Q(consensus=Consensus.RELIABILITY)
    for project in Project.objects.current().filter(several):
        due = _is_to_be_looked_at("reliability", project) and _needs_estimate(project)
        if due and not is_coming(tasks.estimate_reliability, project.pk):
            tasks.estimate_reliability.enqueue(project.pk)


def count_pairs() -> None:
    for project in Project.objects.current():
        if _is_to_be_looked_at("pairs", project):
            keep_pairs(project=project)


def note_answered() -> None:
    """Whether the version that serves has answered all of very many prompts."""
    for project in Project.objects.current().filter(promotions__isnull=False).distinct():
        if _is_to_be_looked_at("answered", project):
            note_all_answered(version=serving_version(project))


def count_quality() -> None:
    """Of projects with more judgements than their quality page counts by itself, a little at a time."""
    for project in Project.objects.current():
        if _is_to_be_looked_at("quality", project) and is_kept(project) and count_on(project=project):
            cache.delete(_looked_at("quality", project))  # more is left: the next tick goes on


def count_previews() -> None:
    """What a dataset of them would hold made now, after what has changed is known from `count_quality`."""
    for project in Project.objects.current():
        if _is_to_be_looked_at("preview", project) and is_kept(project) and kept_previews.count_on(project=project):
            cache.delete(_looked_at("preview", project))


def _needs_estimate(project: Project) -> bool:
    stored = stored_estimate(project)
    if stored is None:
        return project.comparisons.filter(judgements__isnull=False).exists()
    return timezone.now() - stored.made_at > ESTIMATE_EVERY and not is_current(stored)


def _is_to_be_looked_at(what: str, project: Project) -> bool:
    """At most every LOOK_EVERY seconds in this process."""
    return cache.add(_looked_at(what, project), True, LOOK_EVERY)


def _looked_at(what: str, project: Project) -> str:
    return f"kept_figures:{what}:{project.pk}"
