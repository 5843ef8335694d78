"""What a dataset made now would hold, kept until somebody judges: counting it reads every judged pair."""

import hashlib
import json

from django.core.cache import cache
from django.db.models import Count, Max

from annotate.models import Project, Rating
from annotate.quality.reliability import mark_of
from training.datasets.filters import NO_FILTERS, Filters
from training.datasets.snapshots import Preview, preview_dataset
from training.models import Run, Version

KEEP_SECONDS = 3600


def kept_preview(
    *, project: Project, since: Run | None = None, filters: Filters = NO_FILTERS, start: Version | None = None
) -> Preview:
    """A few short queries unless a judgement or a decision has come or gone since it was counted. `since`: a finished run,
    after whose dataset a judgement is new."""
    start = start if filters.fresh else None
    told = [
        project.pk, filters.consensus or project.consensus, project.least_grade, project.ai_judgements, mark_of(project),
        since and since.pk, filters.as_json(), start and start.pk, _ratings_mark(project) if filters.unpaired else None,
    ]  # fmt: skip
    key = "preview:" + hashlib.sha256(json.dumps(told).encode()).hexdigest()
    dataset = since.dataset if since else None
    return cache.get_or_set(
        key, lambda: preview_dataset(project=project, since=dataset, filters=filters, start=start), KEEP_SECONDS
    )


def _ratings_mark(project: Project) -> list[str]:
    """Changes with every rating that is given or taken back."""
    ratings = Rating.objects.given().filter(completion__prompt__project=project)
    return [str(told) for told in ratings.aggregate(number=Count("pk"), last=Max("answered_at")).values()]
