"""Imports are taken out again, as they came."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from annotate.models import Assignment, Comparison, Completion, Judgement, PreferenceImport, Prompt, Rating
from annotate.models.comparison import ComparisonState
from annotate.queue.places import recount_places
from annotate.review.disputes import note_disputes

ROWS_AT_ONCE = 500  # comparisons per transaction


@dataclass
class UndoReport:
    judgements: int = 0  # deleted
    withdrawn: int = 0  # kept, since a dataset names them, but they count no more
    comparisons: int = 0  # deleted
    kept: int = 0  # comparisons that people were given or that a dataset names
    prompts: int = 0  # deleted


def undo_import(*, batch: PreferenceImport, on_some: Callable[[], object] = lambda: None) -> UndoReport:
    """Takes out what came with the batch and nobody has used since. What people added to it stays.

    By transactions of `ROWS_AT_ONCE` comparisons, `on_some` after each; broken off, it is finished by running it again.
    """
    report = UndoReport()
    judgements = Judgement.objects.standing().filter(batch=batch).order_by("comparison_id")
    while pks := list(judgements.values_list("comparison_id", flat=True).distinct()[:ROWS_AT_ONCE]):
        _undo_some(batch, pks, report)
        on_some()
    start = 0
    came = Comparison.objects.filter(batch=batch).order_by("pk")
    while pks := list(came.filter(pk__gt=start).values_list("pk", flat=True)[:ROWS_AT_ONCE]):
        _undo_some(batch, pks, report)
        on_some()
        start = pks[-1]
    _take_out_ratings(batch, report)
    report.kept = came.count()
    _take_out_prompts(batch, report)
    batch.undone_at = timezone.now()
    batch.save(update_fields=["undone_at"])
    return report


@transaction.atomic
def _undo_some(batch: PreferenceImport, comparison_ids: list[int], report: UndoReport) -> None:
    """First the batch's judgements, then its comparisons with which nobody else has had to do; what is left is counted again."""
    found = Comparison.objects.select_for_update(no_key=True).filter(pk__in=comparison_ids).order_by("pk")
    locked = {comparison.pk: comparison for comparison in found}
    removed = _take_back_judgements(batch, locked, report)
    others = set(Assignment.objects.filter(comparison__in=locked).values_list("comparison_id", flat=True))
    unused = [pk for pk, comparison in locked.items() if comparison.batch_id == batch.pk and pk not in others]
    completions = [pk for key in unused for pk in (locked[key].first_id, locked[key].second_id)]
    Comparison.objects.filter(pk__in=unused).delete()
    Completion.objects.filter(pk__in=completions).delete()
    report.comparisons += len(unused)
    left = locked.keys() - set(unused)
    for pk in left:
        required = max(1, locked[pk].judgements_required - removed[pk])
        Comparison.objects.filter(pk=pk).update(judgements_required=required, free_places=min(locked[pk].free_places, required))
    recount_places(left)
    note_disputes(left)
    judged = set(Judgement.objects.standing().filter(comparison__in=left).values_list("comparison_id", flat=True))
    Comparison.objects.filter(pk__in=left - judged, batch=batch).update(state=ComparisonState.RETIRED)


def _take_back_judgements(batch: PreferenceImport, comparison_ids: Iterable[int], report: UndoReport) -> Counter[int]:
    """Deletes them, and withdraws those that a dataset or a decision names. Returns how many each comparison has lost."""
    theirs = Judgement.objects.standing().filter(batch=batch, comparison__in=comparison_ids)
    removed = Counter(theirs.values_list("comparison_id", flat=True))
    named = list(theirs.filter(Q(datasets__isnull=False) | Q(decisions__isnull=False)).values_list("pk", flat=True).distinct())
    report.withdrawn += Judgement.objects.filter(pk__in=named).update(withdrawn_at=timezone.now())
    assignments = list(theirs.values_list("assignment_id", flat=True))
    report.judgements += len(assignments)
    theirs.delete()
    Assignment.objects.filter(pk__in=assignments, judgements=None).delete()
    return removed


@transaction.atomic
def _take_out_ratings(batch: PreferenceImport, report: UndoReport) -> None:
    theirs = Rating.objects.filter(batch=batch)
    completions = list(theirs.values_list("completion_id", flat=True))
    report.judgements += theirs.delete()[0]
    paired = Comparison.objects.filter(Q(first=OuterRef("pk")) | Q(second=OuterRef("pk")))
    for start in range(0, len(completions), ROWS_AT_ONCE):
        some = Completion.objects.filter(pk__in=completions[start : start + ROWS_AT_ONCE], version=None, ratings=None)
        some.filter(~Exists(paired)).delete()


@transaction.atomic
def _take_out_prompts(batch: PreferenceImport, report: UndoReport) -> None:
    unused = Prompt.objects.filter(batch=batch, completions=None, comparisons=None)
    report.prompts += unused.count()
    unused.delete()
