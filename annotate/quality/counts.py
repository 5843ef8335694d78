"""Counting for the quality page: at once while there is little, and kept in blocks by the clock when there is much.

A block is the comparisons whose ids share all but their last three digits. A judgement that comes, goes or comes back, or a
decision about a comparison, makes its block due; the others' tallies stay as they are, and of the total the block's former
tally is taken off and its new one put on. So a million judgements are read once, and each further minute costs what was judged
in it.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max, Min, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from annotate.models import Assignment, Decision, GoldAnswer, Judgement, Project
from annotate.models.assignment import AssignmentState
from annotate.models.judgement import Outcome
from annotate.models.quality import QualityBlock, QualityCount
from annotate.models.scale import Grades
from annotate.quality.tallies import Answer, Tally, tally_of

AT_ONCE = 1500  # judgements that a page counts by itself
BLOCK = 1000
OVERLAP = 1000  # keys: a transaction that ends later than one begun after it
SLACK = timedelta(minutes=1)  # the same for moments
SECONDS_AT_ONCE = 1.5  # of a call of `count_on`

OUTCOMES = {outcome.value: outcome for outcome in Outcome}
RANK_OF = {grades.value: [0, *(grades.rank(each) for each in range(1, grades.strengths + 1))] for grades in Grades}
ROW = (
    "comparison_id", "annotator_id", "outcome", "strength", "assignment__grades", "assignment__swapped", "seconds", "created_at",
    "batch_id", "flags", "assignment__is_gold",
)  # fmt: skip


@dataclass(frozen=True)
class Counted:
    tally: Tally
    skips: dict[int, int]
    at: datetime | None = None  # None: at this moment
    is_cut: bool = False  # only the newest were looked at: nobody has counted all of them yet
    newest: int = 0  # of what was counted then: judgements with greater keys have come since


def counted(project: Project) -> Counted:
    """All of the project's judgements: read now if they are few, else as they were counted last."""
    standing = Judgement.objects.standing().filter(comparison__project=project)
    if standing[: AT_ONCE + 1].count() <= AT_ONCE:
        return Counted(tally_of(_read(standing)), _count_skips(project))
    if kept := counted_by_clock(project):
        return kept
    newest = standing.order_by("-pk")[:AT_ONCE]
    return Counted(tally_of(_read(newest)), _count_skips(project), is_cut=True)


def counted_by_clock(project: Project) -> Counted | None:
    """All up to some moment; None before the clock has come to it."""
    kept = QualityCount.objects.filter(project=project, counted_at__isnull=False).first()
    if kept is None:
        return None
    skips = {int(person): number for person, number in kept.tally["skips"].items()}
    return Counted(Tally.from_json(kept.tally), skips, at=kept.counted_at, newest=kept.counted_newest)


def is_kept(project: Project) -> bool:
    """Whether there are too many judgements to count them on each page."""
    return has_more_than(AT_ONCE, project=project)


def has_more_than(judgements: int, *, project: Project) -> bool:
    """Those that were taken back included; no more are counted than the answer needs."""
    return Judgement.objects.filter(comparison__project=project)[: judgements + 1].count() > judgements


def in_block(number: int) -> Q:
    """The condition on judgements that their comparisons are in that block."""
    return Q(comparison_id__gte=number * BLOCK, comparison_id__lt=(number + 1) * BLOCK)


def blocks_of(project: Project) -> list[int]:
    """The numbers of the blocks that hold judged comparisons; before they have been counted, of all that may."""
    if counted := sorted(QualityBlock.objects.filter(project=project).values_list("number", flat=True)):
        return counted
    ends = project.comparisons.aggregate(first=Min("pk"), last=Max("pk"))
    return list(range((ends["first"] or 0) // BLOCK, (ends["last"] or 0) // BLOCK + 1))


def count_on(*, project: Project, seconds: float = SECONDS_AT_ONCE) -> bool:
    """Reads blocks that are due, for about that long, and tells whether any are left. What it has read is kept.

    What changes while a round goes on is found by the next one.
    """
    until = time.monotonic() + seconds
    kept, is_new = QualityCount.objects.get_or_create(project=project)
    if not kept.blocks_left:
        everything = is_new or kept.counted_at is None or _was_undone(kept)
        now, newest = timezone.now(), _newest(project)
        kept.blocks_left = sorted(_all_blocks(project) if everything else _changed_blocks(kept))
        kept.looked_at, kept.newest_judgement = now, newest
        if not kept.blocks_left and kept.counted_at:
            kept.counted_at, kept.counted_newest = now, newest
            kept.save()
            return False
    found: dict[int, QualityBlock] = {}
    while kept.blocks_left:
        number, began = kept.blocks_left.pop(), timezone.now()
        found[number] = QualityBlock(project=project, number=number, tally=_count_block(kept, number).as_json(), read_at=began)
        if time.monotonic() > until:
            break
    _keep(kept, found)
    return bool(kept.blocks_left)


def _newest(project: Project) -> int:
    of_project = Judgement.objects.filter(comparison__project=project).order_by("-pk")
    return of_project.values_list("pk", flat=True).first() or 0


def _all_blocks(project: Project) -> set[int]:
    judged = project.comparisons.filter(judgements__isnull=False).order_by().values_list("pk", flat=True).distinct()
    kept = QualityBlock.objects.filter(project=project).values_list("number", flat=True)
    return {pk // BLOCK for pk in judged.iterator(chunk_size=10_000)} | set(kept)


def _changed_blocks(kept: QualityCount) -> set[int]:
    """Where judgements have come, been withdrawn or restored, or something was decided, since that was last looked for."""
    own = {"comparison__project": kept.project_id}
    since = kept.looked_at - SLACK
    come = Judgement.objects.filter(**own, pk__gt=kept.newest_judgement)
    if come.exists():
        come = Judgement.objects.filter(**own, pk__gt=kept.newest_judgement - OVERLAP)
    gone = Judgement.objects.filter(**own, withdrawn_at__gt=since)
    decided = Decision.objects.filter(Q(created_at__gt=since) | Q(taken_back_at__gt=since), **own)
    marked = GoldAnswer.objects.filter(**own, marked_at__gt=since)
    found: set[int] = set()
    for rows in (come, gone, decided, marked):
        found.update(rows.order_by().values_list("comparison_id", flat=True).distinct())
    return {pk // BLOCK for pk in found}


def _was_undone(kept: QualityCount) -> bool:
    return kept.project.imports.filter(undone_at__gt=kept.looked_at - SLACK).exists()


def _count_block(kept: QualityCount, number: int) -> Tally:
    """As it stood when the round began: what has come or gone since then is told apart from it."""
    stood = Q(withdrawn_at=None) | Q(withdrawn_at__gt=kept.looked_at)
    own = Judgement.objects.filter(in_block(number), stood, comparison__project=kept.project_id, pk__lte=kept.newest_judgement)
    return tally_of(_read(own))


@transaction.atomic
def _keep(kept: QualityCount, found: dict[int, QualityBlock]) -> None:
    """The blocks and the total of them together, or neither. Two clocks do this one after the other."""
    project = kept.project
    running = QualityCount.objects.select_for_update(no_key=True).values_list("running", flat=True).get(pk=kept.pk)
    total = Tally.from_json(running) if running else _merge(project)
    for former in QualityBlock.objects.filter(project=project, number__in=found).values_list("tally", flat=True):
        total.take_off(Tally.from_json(former))
    for block in found.values():
        total.add(Tally.from_json(block.tally))
    QualityBlock.objects.bulk_create(
        found.values(), batch_size=100, update_conflicts=True, unique_fields=["project", "number"],
        update_fields=["tally", "read_at"],
    )  # fmt: skip
    kept.running = total.as_json()
    if not kept.blocks_left:
        kept.tally = kept.running | {"skips": {str(pk): number for pk, number in _count_skips(project).items()}}
        kept.counted_at, kept.counted_newest = kept.looked_at, kept.newest_judgement
    kept.save()


def _merge(project: Project) -> Tally:
    merged = Tally()
    for kept in QualityBlock.objects.filter(project=project).values_list("tally", flat=True).iterator(chunk_size=20):
        merged.add(Tally.from_json(kept))
    return merged


def _read(judgements: QuerySet[Judgement]) -> Iterator[Answer]:
    lengths = (Length("comparison__first__text"), Length("comparison__second__text"))
    rows: Iterable[tuple] = judgements.values_list(*ROW, *lengths).iterator(chunk_size=2000)
    zone = timezone.get_current_timezone()
    for comparison, person, outcome, strength, grades, swapped, seconds, created_at, batch, flags, gold, first, second in rows:
        rank = RANK_OF[grades][min(strength, grades // 2)]
        day = created_at.astimezone(zone).date()
        imported = batch is not None
        yield Answer(
            comparison, person, OUTCOMES[outcome], rank, swapped, seconds, day, first + second, imported, tuple(flags), gold
        )


def _count_skips(project: Project) -> dict[int, int]:
    skips = Assignment.objects.filter(comparison__project=project, state=AssignmentState.SKIPPED)
    return dict(skips.order_by().values_list("annotator_id").annotate(Count("pk")))
