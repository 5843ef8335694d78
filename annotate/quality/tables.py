"""The quality page's tables as CSV files."""

import csv
import io
from collections.abc import Callable, Iterator

from annotate.quality.figures import Report, Share
from annotate.quality.pictures import positions, times

Row = list[object]
RISKY = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a text that starts so for a formula


def people(report: Report) -> Iterator[Row]:
    yield [
        "person", "judgements", "agrees", "agrees_of", "left", "left_of", "left_low", "left_high", "ties", "both_bad", "skipped",
        "median_seconds", "quartile_1", "quartile_3", "too_fast", "timed", "flags", "reliability",
        "gold", "gold_of", "gold_low", "gold_high",
    ]  # fmt: skip
    for person in report.people:
        figures = person.figures
        yield [
            person.name, figures.judged, *_counts(person.agreeing), *_counts(figures.left), *_limits(figures.left),
            figures.ties.count, figures.both_bad.count, figures.skipped,
            figures.median_seconds, *(figures.middle_half or (None, None)), *_counts(figures.too_fast), "; ".join(person.flags),
            person.reliability, *_counts(person.gold), *_limits(person.gold),
        ]  # fmt: skip


def agreement(report: Report) -> Iterator[Row]:
    yield ["person", "other", "same", "shared", "share"]
    for one in report.people:
        for other in report.people:
            if found := report.matrix.get((one.user.pk, other.user.pk)):
                yield [one.name, other.name, *found, found[0] / found[1]]


def answers(report: Report) -> Iterator[Row]:
    yield ["answer", "count"]
    yield from ([label, count] for label, _, count in positions(report.everybody.own))


def flags(report: Report) -> Iterator[Row]:
    """Each person's flags."""
    yield ["flag", "person", "judgements"]
    for person in report.people:
        yield from ([flag, person.name, count] for flag, count in sorted(person.figures.own.flags.items()))


def seconds(report: Report) -> Iterator[Row]:
    yield ["took", "judgements"]
    yield from map(list, times(report.everybody.own.seconds))


def days(report: Report) -> Iterator[Row]:
    """Each person's judgements on each day."""
    yield ["day", "person", "judgements"]
    for person in report.people:
        yield from ([day, person.name, count] for day, count in sorted(person.figures.own.days.items()))


TABLES: dict[str, Callable[[Report], Iterator[Row]]] = {
    "people": people, "agreement": agreement, "answers": answers, "flags": flags, "seconds": seconds, "days": days,
}  # fmt: skip


def as_csv(name: str, report: Report) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([cell(value) for value in row] for row in TABLES[name](report))
    return stream.getvalue()


def cell(value: object) -> object:
    """As a CSV file holds it: no formula comes of a text that somebody else wrote."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(RISKY) else value


def _counts(share: Share) -> tuple[int, int]:
    return share.count, share.of


def _limits(share: Share) -> tuple[float | None, float | None]:
    return share.range if share.of else (None, None)
