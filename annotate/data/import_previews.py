"""A look at a file before it is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from annotate.formats.files import FileBroken, NoRows, check_whole, read_objects
from annotate.formats.registry import UnknownFormat, detect, read
from annotate.formats.rows import BadRow, PreferenceRow


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
        if not (preview.rows or preview.refused):
            raise NoRows
    except (FileBroken, UnknownFormat) as error:
        preview.error = str(error)
    return preview
