"""Single answers that others rated (TRL's unpaired form) come in as ratings, and are kept unpaired."""

from collections.abc import Mapping
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from annotate.data.batches import QUIET, ImportReport, Steps, begin, bring_in
from annotate.data.imported_annotators import find_imported_annotator
from annotate.data.pairs import Answer, add_completions, ensure_prompts
from annotate.formats.files import check_whole, read_objects
from annotate.formats.kto import RatedRow, read_single
from annotate.formats.registry import renamed
from annotate.formats.rows import BadRow
from annotate.models import PreferenceImport, Project, Rating, User
from annotate.models.prompt import content_hash

FORMAT = "trl-kto"


def import_ratings(
    *,
    project: Project,
    stream: BinaryIO,
    file_name: str,
    names: Mapping[str, str] | None = None,
    by: User | None = None,
    steps: Steps = QUIET,
) -> ImportReport:
    """Adds the ratings of a seekable stream that the project does not have yet. A file that is cut off leaves nothing."""
    check_whole(stream)
    batch = begin(project=project, file_name=file_name, format=FORMAT, by=by, steps=steps)

    def store(rows: list[RatedRow]) -> list[BadRow]:
        return store_ratings(batch=batch, rows=rows)

    rows = read_single(renamed(read_objects(stream), names))
    return bring_in(batch=batch, stream=stream, rows=rows, store=store, steps=steps)


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
