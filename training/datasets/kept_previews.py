"""What a dataset made now would hold, without reading every judged pair for each page.

Of a small project it is counted at once and kept until somebody judges. Of a large one the clock counts it in the blocks of
`annotate.quality.counts`, and again those in which something has come, gone or been decided; pages show it with its age. What
filters would leave of a large project is told from some of its blocks, and of all of them where the time allows.
"""

import hashlib
import json
import random
import time
from dataclasses import replace

from django.core.cache import cache
from django.db.models import Count, Max
from django.utils import timezone

from annotate.consensus.exclusions import exclusions_mark
from annotate.models import Project, Rating
from annotate.models.project import Consensus
from annotate.models.quality import QualityBlock, QualityCount
from annotate.quality.counts import blocks_of, in_block, is_kept
from annotate.quality.reliability import mark_of, stored_estimate
from training.datasets.filters import NO_FILTERS, Filters
from training.datasets.previews import Preview, merged, preview_dataset, preview_ratings, scaled
from training.models import Dataset, Run, Version
from training.models.job import JobState
from training.models.preview import PreviewBlock, PreviewCount

KEEP_SECONDS = 3600
KEEP_SAMPLE_SECONDS = 60
SAMPLE_SECONDS = 0.06  # of a page
LONGER_SECONDS = 1.5  # of what a page asks for once it is there: enough for some ten thousand pairs
SECONDS_AT_ONCE = 1.5  # of a call of `count_on`
RATINGS_AT_ONCE = 2000


def kept_preview(
    *,
    project: Project,
    since: Run | None = None,
    filters: Filters = NO_FILTERS,
    start: Version | None = None,
    seconds: float = SAMPLE_SECONDS,
) -> Preview:
    """A few short queries, and of a large project what can be read in so many seconds. `since`: a finished run, after whose
    dataset a judgement is new."""
    start = start if filters.fresh else None
    dataset = since.dataset if since else None
    asked = {"project": project, "since": dataset, "filters": filters, "start": start}
    told = [project.pk, since and since.pk, filters.as_json(), start and start.pk, _rules(project)]
    if not is_kept(project):
        told += [mark_of(project), _ratings_mark(project) if filters.unpaired else None]
        return cache.get_or_set(_key(told), lambda: preview_dataset(**asked), KEEP_SECONDS)
    if filters == NO_FILTERS and (kept := _kept(project, since=dataset)):
        return kept
    return cache.get_or_set(_key([*told, seconds]), lambda: sampled_preview(**asked, seconds=seconds), KEEP_SAMPLE_SECONDS)


def sampled_preview(
    *, project: Project, since: Dataset | None, filters: Filters, start: Version | None, seconds: float
) -> Preview:
    """Of one block at least, and of as many as can be read in that time; the same ones each time, spread over all."""
    until = time.monotonic() + seconds
    asked = {"project": project, "since": since, "filters": filters, "start": start}
    blocks = blocks_of(project)
    random.Random(0).shuffle(blocks)
    found: list[Preview] = []
    for number in blocks:
        found.append(preview_dataset(**asked, within=in_block(number)))
        if time.monotonic() > until:
            break
    share = len(found) / len(blocks)
    pairs = scaled(merged(found), share=share)
    return replace(merged([pairs, _ratings(**asked)]), share=share) if filters.unpaired else pairs


def _ratings(*, project: Project, since: Dataset | None, filters: Filters, start: Version | None) -> Preview:
    """Of single answers: of every so manieth if there are very many."""
    given = Rating.objects.given().filter(completion__prompt__project=project).count()
    of_them = max(1, given // RATINGS_AT_ONCE)
    asked = {"project": project, "since": since, "filters": filters, "start": start}
    return scaled(preview_ratings(**asked, every=of_them), share=1 / of_them)


def count_on(*, project: Project, seconds: float = SECONDS_AT_ONCE) -> bool:
    """Reads blocks that are due, for about that long, and tells whether any are left. What it has read is kept."""
    until = time.monotonic() + seconds
    quality = QualityCount.objects.filter(project=project, counted_at__isnull=False).first()
    if quality is None or quality.blocks_left:
        return False  # which blocks are due is known when those have been read
    rules, since = _rules(project), _newest_dataset(project)
    due = _due_blocks(project, rules, since)
    for left, number in zip(range(len(due) - 1, -1, -1), due, strict=True):
        began = timezone.now()
        found = preview_dataset(project=project, since=since, within=in_block(number))
        values = {"rules": rules, "since": since, "figures": found.as_json(), "read_at": began}
        PreviewBlock.objects.update_or_create(project=project, number=number, defaults=values)
        if left and time.monotonic() > until:
            return True
    _add_up(project, rules, since, quality, changed=bool(due))
    return False


def _due_blocks(project: Project, rules: str, since: Dataset | None) -> list[int]:
    """Where something has changed since they were read, or which were read by other rules."""
    blocks = PreviewBlock.objects.filter(project=project, rules=rules, since=since)
    read = dict(blocks.values_list("number", "read_at"))
    changed = QualityBlock.objects.filter(project=project).order_by("number").values_list("number", "read_at")
    return [number for number, at in changed if number not in read or read[number] <= at]


def _add_up(project: Project, rules: str, since: Dataset | None, quality: QualityCount, *, changed: bool) -> None:
    as_before = PreviewCount.objects.filter(project=project, rules=rules, since=since)
    if not changed and as_before.update(counted_at=quality.looked_at):
        return
    figures = PreviewBlock.objects.filter(project=project).values_list("figures", flat=True)
    total = merged(Preview.from_json(each) for each in figures.iterator(chunk_size=500))
    values = {"rules": rules, "since": since, "figures": total.as_json(), "counted_at": quality.looked_at}
    PreviewCount.objects.update_or_create(project=project, defaults=values)


def _kept(project: Project, *, since: Dataset | None) -> Preview | None:
    """What the clock has counted, if it was by the rules as they are; without `since`, whatever it took for new."""
    kept = PreviewCount.objects.filter(project=project, rules=_rules(project))
    kept = kept.filter(since=since) if since else kept
    found = kept.first()
    return found and Preview.from_json(found.figures, at=found.counted_at)


def _newest_dataset(project: Project) -> Dataset | None:
    finished = project.runs.filter(state=JobState.DONE).select_related("dataset").order_by("-number").first()
    return finished and finished.dataset


def _rules(project: Project) -> str:
    """Changes with whatever makes other triples of the same judgements."""
    told = [
        project.consensus, project.least_grade, project.ai_judgements, project.judgements_required, exclusions_mark(project),
    ]  # fmt: skip
    if project.consensus == Consensus.RELIABILITY:
        stored = stored_estimate(project)
        told += [project.confidence_bar, stored and f"{stored.made_at:%Y-%m-%d %H}"]  # of this hour: all is read again for it
    return _key(told)


def _key(told: list) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _ratings_mark(project: Project) -> list[str]:
    """Changes with every rating that is given or taken back."""
    ratings = Rating.objects.given().filter(completion__prompt__project=project)
    return [str(told) for told in ratings.aggregate(number=Count("pk"), last=Max("answered_at")).values()]
