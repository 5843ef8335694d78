"""Preferences as a file, in any of the formats of `annotate.formats.registry`, written as they are read."""

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TextIO

from annotate.consensus.judged import read_judged
from annotate.consensus.triples import read_triples
from annotate.formats.registry import JUDGEMENT_WRITERS, TRIPLE_WRITERS
from annotate.formats.rows import CannotExpress
from annotate.judging.ratings import read_ratings
from annotate.models import Project

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
    module, items = _what_to_write(project, format, split)
    return write_rows(module, items, stream)


def stream_preferences(*, project: Project, format: str, split: str = "") -> Iterator[bytes]:
    """The same as parts of a download."""
    module, items = _what_to_write(project, format, split)
    texts = _texts(module, items, ExportReport())
    while some := list(islice(texts, 100)):
        yield "".join(some).encode()


def _what_to_write(project: Project, format: str, split: str) -> tuple[ModuleType, Iterable[Any]]:
    if format in TRIPLE_WRITERS:
        triples = read_triples(project=project, counts=Counter())
        return TRIPLE_WRITERS[format], (triple for triple in triples if not split or triple.split == split)
    judged: Iterable[Any] = read_judged(project=project, split=split)
    if format == "trl-kto":
        judged = chain(judged, read_ratings(project=project, split=split))
    return JUDGEMENT_WRITERS[format], judged


def write_rows(module: ModuleType, items: Iterable[Any], stream: TextIO) -> ExportReport:
    report = ExportReport()
    for text in _texts(module, items, report):
        stream.write(text)
    return report


def _texts(module: ModuleType, items: Iterable[Any], report: ExportReport) -> Iterator[str]:
    """One JSON object a line; in an array where the format's own tools expect one."""
    as_array = getattr(module, "AS_ARRAY", False)
    if as_array:
        yield "[\n"
    for row in _rows(module, items, report):
        between = ",\n" if as_array and report.rows else ""
        report.rows += 1
        yield between + json.dumps(row, ensure_ascii=False) + ("" if as_array else "\n")
    if as_array:
        yield "\n]\n"


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
