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

from django.db.models import Q

from annotate.consensus.judged import read_judged
from annotate.consensus.triples import EVERYTHING, Chosen, Reading
from annotate.data.export_figures import ExportFigures
from annotate.formats.registry import JUDGEMENT_WRITERS, TRIPLE_WRITERS
from annotate.formats.rows import CannotExpress
from annotate.judging.ratings import read_ratings
from annotate.models import Project

FORMATS = sorted({*TRIPLE_WRITERS, *JUDGEMENT_WRITERS})
RATINGS_GO_WITH = "trl-kto"


@dataclass
class ExportReport:
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # triples or comparisons, by why the format has no place for them
    without: Counter[str] = field(default_factory=Counter)  # comparisons that gave no triple, by reason
    figures: ExportFigures = field(default_factory=ExportFigures)  # of what was written, where they were asked for


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which of what has been judged goes out. What is not given leaves nothing out."""

    split: str = ""
    chosen: Chosen = EVERYTHING  # judgements and their pairs; its rule makes the triples
    ratings: Q = field(default_factory=Q)  # of single answers, where a format holds them
    least: int = 1  # strength, of a triple or a judgement: ties and both bad have none


ALL = Wanted()


def export_preferences(*, project: Project, format: str, stream: TextIO, wanted: Wanted = ALL) -> ExportReport:
    """Writes what has been judged.

    Formats of triples get what consensus gives; the others every judgement that stands, ties and both bad included, under
    pseudonyms.
    """
    report = ExportReport()
    items = report.figures.watch(_items(project, format, wanted, report))
    return write_rows(_writer(format), items, stream, report)


def stream_preferences(*, project: Project, format: str, wanted: Wanted = ALL) -> Iterator[bytes]:
    """The same as parts of a download."""
    report = ExportReport()
    texts = _texts(_writer(format), _items(project, format, wanted, report), report)
    while some := list(islice(texts, 100)):
        yield "".join(some).encode()


def count_preferences(*, project: Project, format: str, wanted: Wanted = ALL) -> ExportReport:
    """What an export would hold, without writing it: for its card."""
    report = ExportReport()
    items = report.figures.watch(_items(project, format, wanted, report))
    report.rows = sum(1 for _ in _rows(_writer(format), items, report))
    return report


def _writer(format: str) -> ModuleType:
    return TRIPLE_WRITERS.get(format) or JUDGEMENT_WRITERS[format]


def _items(project: Project, format: str, wanted: Wanted, report: ExportReport) -> Iterable[Any]:
    """Triples, or judged comparisons and rated answers. `report` learns what gave no triple."""
    if format in TRIPLE_WRITERS:
        triples = Reading(project=project, chosen=wanted.chosen)
        report.without = triples.counts
        return (triple for triple in triples if triple.strength >= wanted.least and wanted.split in ("", triple.split))
    judged: Iterable[Any] = read_judged(project=project, split=wanted.split, chosen=wanted.chosen, least=wanted.least)
    if format == RATINGS_GO_WITH:
        judged = chain(judged, read_ratings(project=project, split=wanted.split, chosen=wanted.ratings))
    return judged


def write_rows(module: ModuleType, items: Iterable[Any], stream: TextIO, report: ExportReport | None = None) -> ExportReport:
    report = report or ExportReport()
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
