"""Bringing prompts into a project."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import BinaryIO

from django.db import transaction

from annotate.data import batches
from annotate.formats import prompts as prompt_format
from annotate.formats.files import NoRows, check_whole
from annotate.formats.rows import BadRow, PromptRow
from annotate.models import PreferenceImport, Project, Prompt, User
from annotate.models.prompt import Split, content_hash

FORMAT = "prompts"  # of an import that brought prompts alone
BATCH = 500  # rows per transaction: short enough that nobody waits for the import, and below SQLite's variable limit
KEPT_REFUSALS = 1000


@dataclass
class ImportReport:
    added: int = 0
    heldout: int = 0  # of those added
    known: int = 0  # already there, or twice in the file
    refused_count: int = 0
    refused: list[BadRow] = field(default_factory=list)  # the first of them


def import_prompts(
    *,
    project: Project,
    stream: BinaryIO,
    system: str = "",
    source: str = "",
    on_rows: Callable[[int], object] = lambda number: None,
) -> ImportReport:
    """Adds the prompts of a seekable stream that the project does not have yet; the same file twice adds nothing.

    `system` becomes the system message of rows without one. `on_rows` hears how many rows each batch had. A batch
    is one transaction: an import that was broken off is finished by running it again. Raises FileBroken for a file that
    is cut off, before its first row is used, and for one without any.
    """
    check_whole(stream)
    report = ImportReport()
    rows = prompt_format.read(stream)
    first = next(rows, None)
    if first is None:
        raise NoRows
    rows = chain([first], rows)
    while batch := list(islice(rows, BATCH)):
        good = [row for row in batch if isinstance(row, PromptRow)]
        bad = [row for row in batch if isinstance(row, BadRow)]
        report.refused_count += len(bad)
        report.refused += bad[: KEPT_REFUSALS - len(report.refused)]
        _add(_prompts(good, project=project, system=system, source=source), project, report)
        on_rows(len(batch))
    return report


def import_prompt_file(
    *, project: Project, stream: BinaryIO, file_name: str, system: str = "", by: User | None = None,
    steps: batches.Steps = batches.QUIET,
) -> batches.ImportReport:  # fmt: skip
    """As `import_prompts`, as a batch that can be broken off, gone on with and undone as comparisons are."""
    check_whole(stream)
    batch = batches.begin(project=project, file_name=file_name, format=FORMAT, by=by, steps=steps)

    def store(rows: list[PromptRow]) -> list[BadRow]:
        report = ImportReport()
        _add(_prompts(rows, project=project, system=system, source=file_name, batch=batch), project, report)
        batch.prompts += report.added
        batch.known += report.known
        return []

    return batches.bring_in(batch=batch, stream=stream, rows=prompt_format.read(stream), store=store, steps=steps)


def _prompts(
    rows: Iterable[PromptRow], *, project: Project, system: str, source: str, batch: PreferenceImport | None = None
) -> Iterator[Prompt]:
    longest = Prompt._meta.get_field("source").max_length
    for row in rows:
        messages = row.messages
        if system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        digest = content_hash(messages)
        yield Prompt(
            project=project,
            messages=messages,
            content_hash=digest,
            split=Split.of(digest),
            tags=row.tags,
            source="#".join(part for part in (source, row.id) if part)[:longest],
            batch=batch,
        )


@transaction.atomic
def _add(prompts: Iterable[Prompt], project: Project, report: ImportReport) -> None:
    given = list(prompts)
    unique = {prompt.content_hash: prompt for prompt in reversed(given)}  # the first of equal ones stays
    known = set(project.prompts.filter(content_hash__in=unique).values_list("content_hash", flat=True))
    new = [prompt for prompt in given if prompt.content_hash not in known and unique[prompt.content_hash] is prompt]
    Prompt.objects.bulk_create(new, ignore_conflicts=True)  # another import may bring the same at this moment
    report.added += len(new)
    report.heldout += sum(prompt.split == Split.HELDOUT for prompt in new)
    report.known += len(given) - len(new)
