"""The course of an import: its batch, chunk after chunk by transactions, whole or not at all where the file breaks off.

What a chunk stores is the business of whoever calls (`storing.py` for comparisons, `rating_imports.py` for single answers).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import UnsupportedOperation
from itertools import islice
from typing import Any, BinaryIO

from django.db import connection, transaction
from django.db.models import Max, ProtectedError

from annotate.data.undoing import undo_import
from annotate.formats.files import FileBroken, NoRows
from annotate.formats.rows import BadRow
from annotate.models import Assignment, Comparison, Completion, Judgement, PreferenceImport, Project, Prompt, User

ROWS_AT_ONCE = 500  # per transaction: short enough that nobody waits for the import
COUNTED_FROM = 50  # rows: PostgreSQL counts anew
KEPT_REFUSALS = 1000


@dataclass
class ImportReport:
    batch: PreferenceImport
    refused: list[BadRow] = field(default_factory=list)  # the first of them


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Who hears of an import as it goes, and where to go on with one that was broken off.

    Each is called within the transaction that it is about: what it stores is stored with those rows or not at all, and what
    it raises leaves them out.
    """

    batch: PreferenceImport | None = None  # of an import that was broken off …
    skip: int = 0  # … after this many rows of the file
    on_batch: Callable[[PreferenceImport], object] = lambda batch: None
    on_rows: Callable[[int], object] = lambda number: None  # how many rows the transaction had
    on_refused: Callable[[BadRow], object] = lambda bad: None


QUIET = Steps()


@transaction.atomic
def start_batch(project: Project, file_name: str, format: str, by: User | None) -> PreferenceImport:
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = project.imports.aggregate(newest=Max("number"))["newest"] or 0
    longest = PreferenceImport._meta.get_field("file_name").max_length
    return project.imports.create(number=newest + 1, file_name=file_name[:longest], format=format, by=by)


def begin(*, project: Project, file_name: str, format: str, by: User | None, steps: Steps) -> PreferenceImport:
    """The batch that was broken off, or a new one."""
    if steps.batch is not None:
        return steps.batch
    with transaction.atomic():
        batch = start_batch(project, file_name, format, by)
        steps.on_batch(batch)
    return batch


def bring_in(
    *, batch: PreferenceImport, stream: BinaryIO, rows: Iterator[Any], store: Callable[[list[Any]], list[BadRow]], steps: Steps
) -> ImportReport:
    """Stores the rows; `store` returns those it cannot keep. A file that breaks off or changes on the way (FileBroken) leaves
    nothing of what it brought. Anything else that is raised leaves whole chunks: the same file again, or going on, adds the rest.
    """
    report = ImportReport(batch)
    before = _stamp(stream)
    try:
        for _ in islice(rows, steps.skip):
            pass
        seen = steps.skip
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            _bring(chunk, report, store, steps)
            seen += len(chunk)
        if not seen:
            raise NoRows
        if _stamp(stream) != before:
            raise FileBroken("The file was written to while it was read. Import it again once it is complete.")
    except FileBroken:
        take_back(batch=batch)
        raise
    if batch.comparisons >= COUNTED_FROM:
        _refresh_statistics()
    return report


@transaction.atomic
def _bring(chunk: list[Any], report: ImportReport, store: Callable[[list[Any]], list[BadRow]], steps: Steps) -> None:
    bad = [row for row in chunk if isinstance(row, BadRow)]
    bad += store([row for row in chunk if not isinstance(row, BadRow)])
    bad.sort(key=lambda row: row.line)
    for row in bad:
        steps.on_refused(row)
    report.refused += bad[: KEPT_REFUSALS - len(report.refused)]
    report.batch.refused += len(bad)
    report.batch.save()
    steps.on_rows(len(chunk))


def take_back(*, batch: PreferenceImport, on_some: Callable[[], object] = lambda: None) -> None:
    """An import that is given up goes as if it had never been; what people have done with its rows meanwhile stays."""
    undo_import(batch=batch, on_some=on_some)
    try:
        with transaction.atomic():
            batch.delete()
    except ProtectedError:  # something of it was kept, and names it
        pass


def _stamp(stream: BinaryIO) -> tuple[int, int] | None:
    """Changes when somebody writes to the file; None for what is no file."""
    try:
        found = os.fstat(stream.fileno())
    except (UnsupportedOperation, AttributeError):
        return None
    return found.st_size, found.st_mtime_ns


def _refresh_statistics() -> None:
    """PostgreSQL plans by what it last counted, a minute ago or more. Until then, what came in is read ten times as slowly; and
    if it last counted empty tables, each row of one is looked for among all of another: 250 pairs took minutes.
    """
    if connection.vendor == "postgresql":
        tables = [
            connection.ops.quote_name(model._meta.db_table) for model in (Prompt, Completion, Comparison, Assignment, Judgement)
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {', '.join(tables)}")
