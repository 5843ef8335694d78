"""Which prompts a version has still to answer: it writes one pair for each, and then waits for new ones."""

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from annotate.models import Comparison, Prompt
from annotate.models.comparison import Purpose
from training.models import Version

MANY = 2_000  # prompts: to find that none of them is left takes seconds when there are very many


def unanswered_prompts(version: Version) -> QuerySet[Prompt]:
    """Those of its project without a pair of its own to train on, judged, waiting or retired."""
    own = Q(first__version=version) | Q(second__version=version)
    pairs = Comparison.objects.filter(own, prompt=OuterRef("pk"), purpose=Purpose.TRAIN)
    return Prompt.objects.filter(~Exists(pairs), project_id=version.project_id)


def has_unanswered(version: Version) -> bool:
    """Whether any is left. Of very many prompts: unless the clock found none, and none has come since."""
    if _has_many(version):
        until = version.answered_until
        return until is None or Prompt.objects.filter(project=version.project_id, pk__gt=until).exists()
    return unanswered_prompts(version).exists()


def note_all_answered(*, version: Version) -> None:
    """Looks whether any of very many prompts is left, and keeps that for `has_unanswered`: a part of the clock's work."""
    if _has_many(version):
        newest = Prompt.objects.filter(project=version.project_id).aggregate(newest=Max("pk"))["newest"]
        until = None if unanswered_prompts(version).exists() else newest
        Version.objects.filter(pk=version.pk).update(answered_until=until)


def _has_many(version: Version) -> bool:
    return Prompt.objects.filter(project=version.project_id)[:MANY].count() == MANY
