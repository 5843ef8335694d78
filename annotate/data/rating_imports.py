"""Single answers that others rated (TRL's unpaired form) come in as ratings, and are kept unpaired."""

from collections.abc import Callable
from itertools import islice
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from annotate.data.imports import KEPT_REFUSALS, ImportReport, find_imported_annotator, start_batch
from annotate.data.pairs import Answer, add_completions, ensure_prompts
from annotate.formats.files import check_whole, read_objects
from annotate.formats.kto import RatedRow, read_single
from annotate.formats.rows import BadRow
from annotate.models import PreferenceImport, Project, Rating, User
from annotate.models.prompt import content_hash

BATCH = 300
FORMAT = "trl-kto"


def import_ratings(
    *, project: Project, stream: BinaryIO, file_name: str, by: User | None = None,
    on_refused: Callable[[BadRow], object] = lambda bad: None,
) -> ImportReport:  # fmt: skip
    """Adds the ratings of a seekable stream that the project does not have yet. Raises FileBroken before the first row."""
    check_whole(stream)
    batch = start_batch(project, file_name, FORMAT, by)
    report = ImportReport(batch)
    rows = read_single(read_objects(stream))
    while chunk := list(islice(rows, BATCH)):
        bad = [row for row in chunk if isinstance(row, BadRow)]
        bad += store_ratings(batch=batch, rows=[row for row in chunk if isinstance(row, RatedRow)])
        for row in sorted(bad, key=lambda row: row.line):
            on_refused(row)
        report.refused += bad[: KEPT_REFUSALS - len(report.refused)]
        batch.refused += len(bad)
        batch.save()
    return report


@transaction.atomic
def store_ratings(*, batch: PreferenceImport, rows: list[RatedRow]) -> list[BadRow]:
    """Adds what is new, counts what is known; returns the rows that say the contrary of what the same person said."""
    project = Project.objects.select_for_update(no_key=True).get(pk=batch.project_id)
    before = project.prompts.count()
    prompts = ensure_prompts(project=project, messages=[row.prompt for row in rows], source=batch.file_name, batch=batch)
    batch.prompts += project.prompts.count() - before
    bad = []
    for row in rows:
        (completion,) = add_completions(prompt=prompts[content_hash(row.prompt)], answers=[Answer(row.text, row.model)])
        annotator = find_imported_annotator(project, row.annotator)
        said = {"good": row.good, "answered_at": timezone.now(), "batch": batch}
        rating, new = Rating.objects.get_or_create(completion=completion, annotator=annotator, defaults=said)
        if new:
            batch.judgements += 1
        elif rating.good == row.good:
            batch.known += 1
        else:
            reason = "The same annotator rated the same answer otherwise, here or in an earlier file."
            bad.append(BadRow(row.line, reason, "Delete one of the two rows, or say in each who rated."))
    return bad
