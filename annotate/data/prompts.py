"""Bringing prompts into a project."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from django.db import transaction

from annotate.formats import prompts as prompt_format
from annotate.formats.files import check_whole
from annotate.formats.rows import BadRow, PromptRow
from annotate.models import Project, Prompt
from annotate.models.prompt import Split, content_hash

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
    is cut off, before its first row is used.
    """
    check_whole(stream)
    report = ImportReport()
    rows = prompt_format.read(stream)
    while batch := list(islice(rows, BATCH)):
        good = [row for row in batch if isinstance(row, PromptRow)]
        bad = [row for row in batch if isinstance(row, BadRow)]
        report.refused_count += len(bad)
        report.refused += bad[: KEPT_REFUSALS - len(report.refused)]
        _add(_prompts(good, project=project, system=system, source=source), project, report)
        on_rows(len(batch))
    return report


def _prompts(rows: Iterable[PromptRow], *, project: Project, system: str, source: str) -> Iterator[Prompt]:
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
