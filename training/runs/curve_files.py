"""Curves as files: CSV and JSON as they are written, row by row, and TensorBoard's event files beside the weights."""

import csv
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from training.models import Run
from training.runs import curves

logger = logging.getLogger(__name__)

TENSORBOARD = "runs"  # in a version's directory, where the Hub looks for such files


CURVE_FILES = {"csv": "text/csv", "json": "application/json"}  # suffix → content type; both are UTF-8


def curve_file(run: Run, suffix: str) -> Iterator[str]:
    """Every point of the run, for a spreadsheet (csv) or a program (json: one list)."""
    rows = curves.rows_of(run)
    return as_csv(rows, ["kind", "step", *curves.columns()]) if suffix == "csv" else as_json(rows)


class _Line:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def as_csv(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    writer = csv.DictWriter(_Line(), columns, extrasaction="ignore")
    yield writer.writerow(dict(zip(columns, columns, strict=True)))
    for row in rows:
        yield writer.writerow(row)


def as_json(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One list, an object on each line; what a point does not have is left out."""
    before = "[\n"
    for row in rows:
        yield before + json.dumps({key: value for key, value in row.items() if value is not None})
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def write_tensorboard(*, run: Run, directory: Path) -> None:
    """The run's curves as event files in `directory`, in place of what was there. A full disk is logged, and loses no run."""
    from tensorboardX import SummaryWriter

    try:
        shutil.rmtree(directory, ignore_errors=True)
        with SummaryWriter(logdir=str(directory), write_to_disk=True) as writer:
            for row in curves.rows_of(run):
                part, when = {curves.TRAIN: "train", curves.HELDOUT: "heldout"}[str(row["kind"])], row["time"]
                for key in curves.columns()[1:]:
                    if row[key] is not None:
                        writer.add_scalar(f"{part}/{key}", row[key], row["step"] or 0, walltime=when)
    except OSError as error:
        logger.warning("%s: its TensorBoard files could not be written (%s)", run, error)
