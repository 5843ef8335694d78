"""Preferences as a file, in any of the formats of `annotate.formats.registry`, written as they are read."""

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TextIO

from .consensus import settle
from .formats.registry import JUDGEMENT_WRITERS, TRIPLE_WRITERS
from .formats.rows import CannotExpress
from .judged import read_judged
from .models import Project

FORMATS = sorted({*TRIPLE_WRITERS, *JUDGEMENT_WRITERS})


@dataclass
class ExportReport:
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # triples or comparisons, by why the format has no place for them


def export_preferences(*, project: Project, format: str, stream: TextIO, split: str = "") -> ExportReport:
    """Writes what has been judged. Without `split`, of both.

    Formats of triples get what the project's consensus gives; the others every judgement that stands, ties and both bad
    included, under pseudonyms.
    """
    if format in TRIPLE_WRITERS:
        triples = settle(project=project).triples
        items: Iterable[Any] = (triple for triple in triples if not split or triple.split == split)
        return write_rows(TRIPLE_WRITERS[format], items, stream)
    return write_rows(JUDGEMENT_WRITERS[format], read_judged(project=project, split=split), stream)


def write_rows(module: ModuleType, items: Iterable[Any], stream: TextIO) -> ExportReport:
    """One JSON object a line; in an array where the format's own tools expect one."""
    report = ExportReport()
    as_array = getattr(module, "AS_ARRAY", False)
    stream.write("[\n" if as_array else "")
    for row in _rows(module, items, report):
        between = ",\n" if as_array and report.rows else ""
        stream.write(between + json.dumps(row, ensure_ascii=False) + ("" if as_array else "\n"))
        report.rows += 1
    stream.write("\n]\n" if as_array else "")
    return report


def _rows(module: ModuleType, items: Iterable[Any], report: ExportReport) -> Iterator[dict[str, Any]]:
    for item in items:
        try:
            yield from module.rows_of(item)
        except CannotExpress as error:
            report.left_out[str(error)] += 1


@contextmanager
def open_compressed(file: BinaryIO, name: str) -> Iterator[TextIO]:
    """A text stream into the file, compressed if its name ends in .gz or .zst. The same rows give the same bytes."""
    suffix = Path(name).suffix
    if suffix == ".gz":
        packed: Any = gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0)
    elif suffix == ".zst":
        import zstandard

        packed = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    else:
        packed = file
    text = io.TextIOWrapper(packed, encoding="utf-8", newline="\n", write_through=False)
    yield text
    text.flush()
    if packed is file:
        text.detach()
    else:
        text.close()
