"""CSV and plain text, told apart by the first line: a table's header names a known field. Numbers are the lines'.

A record with a stray quote would swallow all that follows; it is given up after a while, and reading goes on with the line
after its first.
"""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from .rows import BadRow, not_utf_8, numbered_lines

DELIMITERS = ",;\t"
MAX_LINES = 1000  # of one record, in which quotes hold line breaks
MAX_CHARACTERS = 1 << 20

Lines = Iterator[tuple[int, str | BadRow]]


def read_table(text: BinaryIO, known: Iterable[str], plain: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Rows of a CSV with one of the `known` fields in its header; else each line as {plain: line}."""
    lines = _decoded(text)
    first = next(lines, None)
    if first is None:
        return
    number, header = first
    columns, delimiter = _header(header, set(known)) if isinstance(header, str) else ([], "")
    if not columns:
        for number, line in _again([first], lines):
            yield number, line if isinstance(line, BadRow) else {plain: line}
        return
    for number, record in _records(lines):
        yield number, record if isinstance(record, BadRow) else _row(number, record, columns, delimiter)


def _decoded(text: BinaryIO) -> Lines:
    """Lines that are not blank."""
    for number, line in numbered_lines(text):
        if line is None:
            yield number, BadRow(number, "The line is too long.", "Shorten or split it.")
            continue
        try:
            decoded = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            what = not_utf_8(error)
            yield number, BadRow(number, what.reason, what.next_step)
            continue
        if decoded.strip():
            yield number, decoded


def _again(before: Iterable[tuple[int, str | BadRow]], lines: Lines) -> Lines:
    yield from before
    yield from lines


def _header(line: str, known: set[str]) -> tuple[list[str], str]:
    for delimiter in DELIMITERS:
        columns = [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter), [])]
        if known & set(columns):
            return columns, delimiter
    return [], ""


def _records(lines: Lines) -> Iterator[tuple[int, str | BadRow]]:
    """Whole records: lines, joined as long as a quote is open."""
    waiting: deque[tuple[int, str | BadRow]] = deque()

    def take() -> tuple[int, str | BadRow] | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (found := take()) is not None:
        number, record = found
        if isinstance(record, BadRow) or record.count('"') % 2 == 0:
            yield number, record
            continue
        taken: list[tuple[int, str | BadRow]] = []
        while record.count('"') % 2:
            more = take() if len(taken) < MAX_LINES and len(record) < MAX_CHARACTERS else None
            if more is not None:
                taken.append(more)
            if more is None or isinstance(more[1], BadRow):
                yield number, BadRow(number, "A quote is opened and never closed.", "Double a quote that belongs to the text.")
                waiting.extendleft(reversed(taken))
                break
            record += "\n" * (more[0] - (taken[-2][0] if len(taken) > 1 else number)) + more[1]
        else:
            yield number, record


def _row(number: int, record: str, columns: list[str], delimiter: str) -> dict[str, Any] | BadRow:
    try:
        [cells] = csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        return BadRow(number, f"Not CSV: {error}.", "Put the text in quotes, and double those in it.")
    if len(cells) != len(columns):
        return BadRow(
            number,
            f"It has {len(cells)} cells where the header has {len(columns)}.",
            "Put a text with delimiters in quotes.",
        )
    return dict(zip(columns, cells, strict=True))
