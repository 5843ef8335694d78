"""Datasets: what has been judged so far, as files that never change."""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.singles import Single, read_rated
from annotate.consensus.triples import Reading, Settlement, Triple
from annotate.formats import kto, trl
from annotate.models import Project, User
from annotate.models.project import Consensus
from annotate.models.prompt import Split
from training.datasets.cards import CARD_FILE, card_of_dataset
from training.datasets.filters import NO_FILTERS, Filters
from training.models import Dataset, Version
from training.wording import reasons_in_words

FILES = {Split.TRAIN: "train.jsonl", Split.HELDOUT: "heldout.jsonl"}
GOOD_START = 30  # triples: fewer rarely move a model beyond noise
ROWS_AT_ONCE = 10_000
LEFT_SECONDS = 24 * 3600


class NothingToTrainOn(Exception):
    """There is no triple; the text says why and what to do."""


class FilteredReading:
    """The triples that the filters leave, as they are read. Those whose strength is too small are counted as "weak".

    `within`: a condition on judgements, so that only pairs are looked at, and only some of them. `start`: the version that
    training starts from, for filters that ask for it. With `fresh`, the rule “by reliability” goes by an estimate of all the
    judgements that there are now. `pulse` is called now and then. `rule`, `counts` and `singles` are known when all are read.
    """

    def __init__(
        self,
        *,
        project: Project,
        filters: Filters,
        start: Version | None,
        fresh: bool = False,
        within: Q | None = None,
        pulse: Callable[[], object] = lambda: None,
    ) -> None:
        self.project, self.filters, self.start, self.within = project, filters, start, within
        chosen = filters.chosen(project=project, start=start)
        if within is not None:
            chosen = replace(chosen, pairs=chosen.pairs & within)
        asked = {"with_singles": filters.unpaired, "with_ties": filters.ties}
        self.reading = Reading(project=project, chosen=chosen, fresh=fresh, pulse=pulse, **asked)
        self.rule = self.reading.rule
        self.counts: dict[str, int] = {}
        self.singles: list[Single] = []

    def __iter__(self) -> Iterator[Triple]:
        least = self.filters.min_strength
        kept, weak = set(), set()
        for triple in self.reading:
            if least > 1 and triple.strength < least:
                weak.add(triple.comparison_id)
                continue
            if least > 1:
                kept.add(triple.comparison_id)
            yield triple
        self.counts = {str(reason): number for reason, number in self.reading.counts.items()}
        self.counts["weak"] += len(weak - kept)  # beside those too weak for the project's least grade
        if least == 1:  # single answers have no strength
            self.singles = self.reading.singles
            if self.filters.unpaired and self.within is None:
                self.singles += read_rated(project=self.project, chosen=self.filters.ratings(start=self.start))


def settle_filtered(**asked: Any) -> Settlement:
    """All of a `FilteredReading`, which is asked for in the same words, at once."""
    reading = FilteredReading(**asked)
    triples = list(reading)
    return Settlement(rule=reading.rule, triples=triples, counts=reading.counts, singles=reading.singles)


def create_dataset(
    *,
    project: Project,
    by: User | None = None,
    filters: Filters = NO_FILTERS,
    start: Version | None = None,
    pulse: Callable[[], object] = lambda: None,
) -> Dataset:
    """A snapshot of the project's triples; the newest one if nothing has changed since. Raises NothingToTrainOn.

    `start`: the version that training starts from, for filters that ask for it. `pulse` is called now and then. However many
    triples there are, few are in memory at once.
    """
    project_dir = settings.DATASETS_DIR / project.slug
    _sweep(project_dir)
    partial = project_dir / f".partial-{_nobody_elses()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        reading = FilteredReading(project=project, filters=filters, start=start, fresh=True, pulse=pulse)
        written = _write(partial, reading)
        if not sum(written.rows.values()):
            raise NothingToTrainOn(_why_nothing(reading.counts))
        kept = filters.as_json() | _how(project, reading.rule) | ({"start": start.number} if filters.fresh and start else {})
        if filters.unpaired:
            kept["singles"] = len(reading.singles)
        if filters.ties:
            kept["tied"] = written.ties
        if excluded := excluded_people(project):
            kept["people_left_out"] = len(excluded)
        dataset = _record(project, by, written, reading.counts, partial, kept)
        if not (dataset.path / CARD_FILE).exists():  # which is written last
            _complete(dataset, written, pulse)
        return dataset
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _nobody_elses() -> str:
    """A part of a name that nobody else on this host writes to at this moment."""
    return f"{os.getpid()}-{threading.get_ident()}"


def _sweep(project_dir: Path) -> None:
    """What a worker that was killed has left: nobody writes for so long."""
    for left in project_dir.glob(".partial-*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - LEFT_SECONDS:
                shutil.rmtree(left)


@dataclass(frozen=True)
class _Written:
    """What two files hold."""

    hashes: dict[Split, str]
    rows: dict[Split, int]
    ties: int
    judgement_ids: list[int]  # in order, each once


@transaction.atomic
def _record(
    project: Project, by: User | None, written: _Written, counts: dict[str, int], partial: Path, filters: dict
) -> Dataset:
    """With the first of its judgements: most datasets have no more."""
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = project.datasets.order_by("-number").first()
    made = (written.hashes[Split.TRAIN], written.hashes[Split.HELDOUT], filters)
    if newest and (newest.train_sha256, newest.heldout_sha256, newest.filters) == made:
        return newest
    number = (project.datasets.aggregate(newest=Max("number"))["newest"] or 0) + 1
    directory = settings.DATASETS_DIR / project.slug / f"d{number}"
    if directory.exists():  # left by a crash before its row was written
        shutil.rmtree(directory)
    partial.rename(directory)
    dataset = Dataset.objects.create(
        project=project,
        number=number,
        directory=str(directory.relative_to(settings.VAR_DIR)),
        train_sha256=written.hashes[Split.TRAIN],
        heldout_sha256=written.hashes[Split.HELDOUT],
        train_count=written.rows[Split.TRAIN],
        heldout_count=written.rows[Split.HELDOUT],
        counts=counts,
        filters=filters,
        created_by=by,
    )
    _link_judgements(dataset, written.judgement_ids[:ROWS_AT_ONCE])
    return dataset


def _complete(dataset: Dataset, written: _Written, pulse: Callable[[], object]) -> None:
    """Its other judgements, in short transactions, and its card. What somebody else could not finish is done again."""
    for first in range(ROWS_AT_ONCE, len(written.judgement_ids), ROWS_AT_ONCE):
        pulse()
        _link_judgements(dataset, written.judgement_ids[first : first + ROWS_AT_ONCE])
    pulse()
    partial = dataset.path / f".{CARD_FILE}-{_nobody_elses()}"
    partial.write_text(card_of_dataset(dataset), encoding="utf-8")
    partial.replace(dataset.path / CARD_FILE)


def _how(project: Project, rule: str) -> dict[str, object]:
    """By what the triples were made; what is as it is by default is left out."""
    how: dict[str, object] = {"consensus": rule}
    if rule == Consensus.RELIABILITY:
        how["confidence_bar"] = project.confidence_bar
    if project.least_grade:
        how["least_grade"] = project.least_grade
    return how


def _link_judgements(dataset: Dataset, judgement_ids: Sequence[int]) -> None:
    """Those that are linked already stay so."""
    link = Dataset.judgements.through
    link.objects.bulk_create((link(dataset_id=dataset.pk, judgement_id=pk) for pk in judgement_ids), ignore_conflicts=True)


def _write(directory: Path, reading: FilteredReading) -> _Written:
    """Each split's triples and then its single answers, as they come, flushed to disk and read-only."""
    paths = {split: directory / name for split, name in FILES.items()}
    rows, ties, judgement_ids = dict.fromkeys(FILES, 0), 0, set()
    with ExitStack() as open_ones:
        files = {split: open_ones.enter_context(path.open("w", encoding="utf-8", newline="\n")) for split, path in paths.items()}
        for triple in reading:
            trl.write([triple], files[triple.split])
            rows[triple.split] += 1
            ties += triple.tie
            judgement_ids.update(triple.judgement_ids)
        for single in reading.singles:
            files[single.split].write(json.dumps(kto.row_of_single(single), ensure_ascii=False) + "\n")
            rows[single.split] += 1
            judgement_ids.update(single.judgement_ids)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return _Written({split: _seal(path) for split, path in paths.items()}, rows, ties, sorted(judgement_ids))


def _seal(path: Path) -> str:
    """Nobody writes to it any more. Returns its SHA-256."""
    path.chmod(0o444)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_nothing(counts: Mapping[str, int]) -> str:
    reasons = ", ".join(reasons_in_words(counts))
    if not reasons:
        return f"Nothing has been judged yet. Judge some comparisons first; {GOOD_START} are a good start."
    return f"No judged comparison says which answer is better ({reasons}). Judge some more; {GOOD_START} are a good start."
