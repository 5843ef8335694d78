"""Comparisons that others judged come into a project, once, and can be taken out again as they came.

An imported comparison is done: nobody is asked about it, unless the import says that people are to judge it again. Its
judgements belong to imported annotators, who are users that cannot sign in and belong to no project; their names are
pseudonyms of those in the file (made with SECRET_KEY, so that they cannot be guessed back). They count like any others.
What stands in the file about models is kept with the completions, and shown to managers only.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from django.db import connection, transaction
from django.db.models import Exists, F, Max, OuterRef, Q
from django.utils import timezone

from annotate.consensus.judged import pseudonym
from annotate.data.pairs import pair_hash
from annotate.formats.files import FileBroken, check_whole, read_objects
from annotate.formats.registry import UnknownFormat, detect, read
from annotate.formats.rows import BadRow, PreferenceRow
from annotate.models import Assignment, Comparison, Completion, Judgement, PreferenceImport, Project, Prompt, Rating, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split, content_hash
from annotate.models.scale import Grades
from annotate.queue.places import recount_places
from annotate.review.disputes import note_disputes

BATCH = 500  # rows per transaction: short enough that nobody waits for the import
KEPT_REFUSALS = 1000
MAX_STRENGTH = max(Grades).strengths


@dataclass
class ImportReport:
    batch: PreferenceImport
    refused: list[BadRow] = field(default_factory=list)  # the first of them


def import_preferences(
    *,
    project: Project,
    stream: BinaryIO,
    file_name: str,
    format: str = "",
    names: Mapping[str, str] | None = None,
    split: str = "",
    judge_again: bool = False,
    by: User | None = None,
    on_rows: Callable[[int], object] = lambda number: None,
    on_refused: Callable[[BadRow], object] = lambda bad: None,
) -> ImportReport:
    """Adds the comparisons and judgements of a seekable stream that the project does not have yet.

    Without `format`, the content tells it; `names` maps our field names to the file's. `split` decides where prompts that
    are new belong; without it, their content does. With `judge_again`, the comparisons that are new are open for the
    project's people, too. A file that is cut off is refused before its first row (FileBroken), one of no known format
    with UnknownFormat. Rows go in by transactions of `BATCH`: an import that was broken off is finished by running it
    again. `on_rows` hears how many rows each had, `on_refused` every row that was not taken.
    """
    check_whole(stream)
    format = format or detect(stream, names)
    batch = start_batch(project, file_name, format, by)
    report = ImportReport(batch)
    importing = _Importing(batch, split, judge_again)
    rows = read(stream, format, names)
    while chunk := list(islice(rows, BATCH)):
        good = [row for row in chunk if isinstance(row, PreferenceRow)]
        bad = [row for row in chunk if isinstance(row, BadRow)]
        bad += importing.store(good)
        for row in sorted(bad, key=lambda row: row.line):
            on_refused(row)
        report.refused += bad[: KEPT_REFUSALS - len(report.refused)]
        batch.refused += len(bad)
        batch.save()
        on_rows(len(chunk))
    if batch.comparisons >= BATCH:
        _refresh_statistics()
    return report


def _refresh_statistics() -> None:
    """PostgreSQL plans by what it last counted, a minute ago or more: until then, what came in is read ten times as slowly."""
    if connection.vendor == "postgresql":
        tables = [
            connection.ops.quote_name(model._meta.db_table) for model in (Prompt, Completion, Comparison, Assignment, Judgement)
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {', '.join(tables)}")


@dataclass
class Preview:
    """What an import would take, from the first rows of its file."""

    format: str = ""
    fields: list[str] = field(default_factory=list)  # of the first row
    rows: list[PreferenceRow] = field(default_factory=list)
    refused: list[BadRow] = field(default_factory=list)
    error: str = ""  # why nothing can be taken


def preview_import(*, stream: BinaryIO, format: str = "", names: Mapping[str, str] | None = None, number: int = 100) -> Preview:
    """Reads the first `number` rows and stores nothing."""
    preview = Preview(format=format)
    try:
        check_whole(stream)
        preview.fields = next((list(row) for _, row in islice(read_objects(stream), number) if isinstance(row, dict)), [])
        preview.format = format or detect(stream, names)
        for row in islice(read(stream, preview.format, names), number):
            (preview.refused if isinstance(row, BadRow) else preview.rows).append(row)
    except (FileBroken, UnknownFormat) as error:
        preview.error = str(error)
    return preview


@transaction.atomic
def start_batch(project: Project, file_name: str, format: str, by: User | None) -> PreferenceImport:
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = project.imports.aggregate(newest=Max("number"))["newest"] or 0
    longest = PreferenceImport._meta.get_field("file_name").max_length
    return project.imports.create(number=newest + 1, file_name=file_name[:longest], format=format, by=by)


def find_imported_annotator(project: Project, given: str) -> User:
    """The user who stands for somebody named in a file: a pseudonym that cannot sign in."""
    digits = pseudonym(project, f"imported:{given}")
    user, _ = User.objects.get_or_create(
        username=f"imported-{digits}",
        defaults={"name": f"Imported annotator {digits[:6]}", "is_active": False, "password": "!"},
    )
    return user


@dataclass(slots=True)
class _Row:
    """A row with what identifies it."""

    given: PreferenceRow
    prompt: str  # the hash of its messages
    comparison: str  # that of the pair, whichever side comes first
    annotator: User
    strength: int
    turned: bool = False  # the comparison is stored with the sides the other way round

    @property
    def outcome(self) -> Outcome:
        """In the order of the comparison that is stored."""
        return self.given.outcome.swapped if self.turned else self.given.outcome


class _Importing:
    """The rows of one file on their way into the database, a chunk at a time."""

    def __init__(self, batch: PreferenceImport, split: str, judge_again: bool) -> None:
        self.batch, self.project, self.split, self.judge_again = batch, batch.project, split, judge_again
        self.annotators: dict[str, User] = {}

    @transaction.atomic
    def store(self, given: list[PreferenceRow]) -> list[BadRow]:
        """Adds what is new; returns the rows that cannot be kept as they are."""
        Project.objects.select_for_update(no_key=True).get(pk=self.project.pk)  # two imports come one after the other
        bad = [_without_tools(row) for row in given if row.meta.get("tools")]
        rows = [self._identify(row) for row in given if not row.meta.get("tools")]
        known = self._known_comparisons(rows)
        new, contradicting = self._only_new(rows, known)
        comparisons = known | self._add_comparisons(
            [row for row in new if row.comparison not in known], Counter(row.comparison for row in new)
        )
        self._add_judgements(new, comparisons)
        self._make_room([known[row.comparison].pk for row in new if row.comparison in known])
        note_disputes(comparison.pk for comparison in comparisons.values())
        self.batch.judgements += len(new)
        self.batch.known += len(rows) - len(new) - len(contradicting)
        return bad + contradicting

    def _identify(self, row: PreferenceRow) -> _Row:
        prompt = content_hash(row.prompt)
        pair = pair_hash(prompt, [(_model(row, "model_a"), row.a), (_model(row, "model_b"), row.b)])
        annotator = self._annotator(str(row.meta.get("annotator", "")))
        return _Row(row, prompt, pair, annotator, _strength(row))

    def _annotator(self, given: str) -> User:
        if given not in self.annotators:
            self.annotators[given] = find_imported_annotator(self.project, given)
        return self.annotators[given]

    def _known_comparisons(self, rows: list[_Row]) -> dict[str, Comparison]:
        """Those that are there already, locked. Their rows are turned to the order in which they are stored."""
        hashes = {row.comparison for row in rows}
        found = self.project.comparisons.filter(content_hash__in=hashes).select_related("first").order_by("pk")
        known = {comparison.content_hash: comparison for comparison in found.select_for_update(of=("self",), no_key=True)}
        first = {key: (comparison.first.model_name, comparison.first.text) for key, comparison in known.items()}
        for row in rows:
            side = (_model(row.given, "model_a"), row.given.a)
            row.turned = first.setdefault(row.comparison, side) != side  # the first row of a new pair decides on its order
        return known

    def _only_new(self, rows: list[_Row], known: dict[str, Comparison]) -> tuple[list[_Row], list[BadRow]]:
        """One judgement per pair and annotator: the same again is known, another one cannot stand beside it."""
        stored = Judgement.objects.standing().filter(comparison__in=known.values())
        stand = {
            (key, annotator): (Outcome(outcome), strength)
            for key, annotator, outcome, strength in stored.values_list(
                "comparison__content_hash", "annotator_id", "outcome", "strength"
            )
        }
        new, contradicting = [], []
        for row in rows:
            key, answer = (row.comparison, row.annotator.pk), (row.outcome, row.strength)
            if key not in stand:
                stand[key] = answer
                new.append(row)
            elif stand[key] != answer:
                contradicting.append(_contradicts(row, stand[key]))
        return new, contradicting

    def _add_prompts(self, rows: list[_Row]) -> dict[str, int]:
        messages = _first_by("prompt", rows)
        known = dict(self.project.prompts.filter(content_hash__in=messages).values_list("content_hash", "pk"))
        new = [
            Prompt(
                project=self.project,
                messages=row.given.prompt,
                content_hash=digest,
                split=self.split or Split.of(digest),
                source=self._source(row),
                batch=self.batch,
            )
            for digest, row in messages.items()
            if digest not in known
        ]
        Prompt.objects.bulk_create(new, ignore_conflicts=True)  # somebody may import the same as prompts at this moment
        self.batch.prompts += len(new)
        return dict(self.project.prompts.filter(content_hash__in=messages).values_list("content_hash", "pk"))

    def _add_comparisons(self, rows: list[_Row], judgements: Counter[str]) -> dict[str, Comparison]:
        firsts = _first_by("comparison", rows)
        prompts = self._add_prompts(rows)
        completions = [
            Completion(prompt_id=prompts[row.prompt], text=text, model_name=_model(row.given, model))
            for row in firsts.values()
            for text, model in ((row.given.a, "model_a"), (row.given.b, "model_b"))
        ]
        Completion.objects.bulk_create(completions)
        again = self.project.judgements_required if self.judge_again else 0
        rounds = Comparison.objects.rounds_of(prompts.values())
        comparisons = [
            Comparison(
                project=self.project,
                prompt_id=prompts[row.prompt],
                first=first,
                second=second,
                state=ComparisonState.OPEN if again else ComparisonState.DONE,
                round=_next(rounds, prompts[row.prompt]),
                judgements_required=judgements[key] + again if again else 1,
                free_places=again,
                batch=self.batch,
                source=self._source(row),
                content_hash=key,
            )
            for (key, row), first, second in zip(firsts.items(), completions[::2], completions[1::2], strict=True)
        ]
        Comparison.objects.bulk_create(comparisons)
        self.batch.comparisons += len(comparisons)
        return {comparison.content_hash: comparison for comparison in comparisons}

    def _add_judgements(self, rows: list[_Row], comparisons: dict[str, Comparison]) -> None:
        """Each under an assignment that is judged; that of a judgement that was withdrawn serves again."""
        theirs = Assignment.objects.filter(
            comparison__in=[comparisons[row.comparison].pk for row in rows], annotator__in={row.annotator.pk for row in rows}
        )
        found = {(assignment.comparison_id, assignment.annotator_id): assignment for assignment in theirs}
        now, added, judgements = timezone.now(), [], []
        for row in rows:
            comparison, meta = comparisons[row.comparison], row.given.meta
            assignment = found.get((comparison.pk, row.annotator.pk))
            if assignment is None:
                assignment = Assignment(
                    id=uuid.uuid4(),
                    comparison=comparison,
                    annotator=row.annotator,
                    swapped=(meta.get("left") == "second") != row.turned,
                    grades=_grades(row),
                    state=AssignmentState.JUDGED,
                    leased_at=now,
                    expires_at=now,
                )
                added.append(assignment)
            judgements.append(
                Judgement(
                    assignment=assignment,
                    comparison=comparison,
                    annotator=row.annotator,
                    outcome=row.outcome,
                    strength=row.strength,
                    seconds=_seconds(meta.get("seconds")),
                    rationale=str(meta.get("rationale", "")),
                    flags=meta["flags"] if isinstance(meta.get("flags"), list) else [],
                    edited_text=str(meta.get("edited_text", "")),
                    batch=self.batch,
                )
            )
        Assignment.objects.bulk_create(added)
        Judgement.objects.bulk_create(judgements)

    def _make_room(self, comparison_ids: list[int]) -> None:
        """One more imported judgement takes no place of the people who are to judge an open comparison."""
        for pk, number in Counter(comparison_ids).items():
            open_ones = Comparison.objects.filter(pk=pk, batch__isnull=False, state=ComparisonState.OPEN)
            open_ones.update(judgements_required=F("judgements_required") + number)
        recount_places(set(comparison_ids))

    def _source(self, row: _Row) -> str:
        longest = Comparison._meta.get_field("source").max_length
        given = row.given.meta.get("id")
        return f"{self.batch.file_name}#{row.given.line if given is None else given}"[:longest]


def _next(counts: Counter[int], key: int) -> int:
    """What has been counted of the key so far; this one is counted too."""
    counts[key] += 1
    return counts[key] - 1


def _first_by(name: str, rows: list[_Row]) -> dict[str, _Row]:
    """The first row of each prompt or comparison, in the order of the file."""
    firsts: dict[str, _Row] = {}
    for row in rows:
        firsts.setdefault(getattr(row, name), row)
    return firsts


def _model(row: PreferenceRow, side: str) -> str:
    return str(row.meta.get(side, ""))[: Completion._meta.get_field("model_name").max_length]


def _strength(row: PreferenceRow) -> int:
    """The nearest of those that a scale has; halves go up."""
    if row.outcome not in (Outcome.FIRST, Outcome.SECOND):
        return 0
    return max(1, int(min(row.strength, MAX_STRENGTH) + 0.5))


def _grades(row: _Row) -> Grades:
    """The scale that the file names, else the smallest that has the strength."""
    given = row.given.meta.get("grades")
    if isinstance(given, int) and given in Grades.values and row.strength <= Grades(given).strengths:
        return Grades(given)
    return next(grades for grades in Grades if grades.strengths >= row.strength)


def _seconds(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if usable else None


def _without_tools(row: PreferenceRow) -> BadRow:
    return BadRow(row.line, "It comes with tools, which a prompt cannot keep yet.", "Leave the row out, or its tools.")


def _contradicts(row: _Row, stands: tuple[Outcome, int]) -> BadRow:
    reason = f"The same annotator judged the same pair otherwise, here or in an earlier file ({stands[0].label.lower()})."
    return BadRow(row.given.line, reason, "Delete one of the two rows, or say in each who judged.")


# -- undoing -------------------------------------------------------------------------------------------------


@dataclass
class UndoReport:
    judgements: int = 0  # deleted
    withdrawn: int = 0  # kept, since a dataset names them, but they count no more
    comparisons: int = 0  # deleted
    kept: int = 0  # comparisons that people were given or that a dataset names
    prompts: int = 0  # deleted


def undo_import(*, batch: PreferenceImport) -> UndoReport:
    """Takes out what came with the batch and nobody has used since. What people added to it stays.

    By transactions of `BATCH` comparisons; broken off, it is finished by running it again.
    """
    report = UndoReport()
    judgements = Judgement.objects.standing().filter(batch=batch).order_by("comparison_id")
    while pks := list(judgements.values_list("comparison_id", flat=True).distinct()[:BATCH]):
        _undo_some(batch, pks, report)
    start = 0
    came = Comparison.objects.filter(batch=batch).order_by("pk")
    while pks := list(came.filter(pk__gt=start).values_list("pk", flat=True)[:BATCH]):
        _undo_some(batch, pks, report)
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
    for start in range(0, len(completions), BATCH):
        some = Completion.objects.filter(pk__in=completions[start : start + BATCH], version=None, ratings=None)
        some.filter(~Exists(paired)).delete()


@transaction.atomic
def _take_out_prompts(batch: PreferenceImport, report: UndoReport) -> None:
    unused = Prompt.objects.filter(batch=batch, completions=None, comparisons=None)
    report.prompts += unused.count()
    unused.delete()
