"""Datasets: what has been judged so far, as files that never change."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.singles import read_rated
from annotate.consensus.triples import Settlement, settle
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


class NothingToTrainOn(Exception):
    """There is no triple; the text says why and what to do."""


def settle_filtered(
    *,
    project: Project,
    filters: Filters,
    start: Version | None,
    fresh: bool = False,
    within: Q | None = None,
    pulse: Callable[[], object] = lambda: None,
) -> Settlement:
    """The triples that the filters leave. Those whose strength is too small are counted as "weak".

    `within`: a condition on judgements, so that only pairs are looked at, and only some of them.

    With `fresh`, the rule “by reliability” goes by an estimate of all the judgements that there are now. `pulse` is called
    now and then.
    """
    chosen = filters.chosen(project=project, start=start)
    if within is not None:
        chosen = replace(chosen, pairs=chosen.pairs & within)
    settlement = settle(
        project=project, chosen=chosen, fresh=fresh, with_singles=filters.unpaired, with_ties=filters.ties, pulse=pulse
    )
    if filters.min_strength == 1:
        rated = read_rated(project=project, chosen=filters.ratings(start=start)) if filters.unpaired and within is None else ()
        return replace(settlement, singles=[*settlement.singles, *rated])
    strong = [triple for triple in settlement.triples if triple.strength >= filters.min_strength]
    weak = settlement.counts["weak"]  # for the project's least grade
    kept, all_of_them = ({triple.comparison_id for triple in triples} for triples in (strong, settlement.triples))
    counts = settlement.counts | {"weak": weak + len(all_of_them - kept)}
    return replace(settlement, triples=strong, counts=counts, singles=[])  # which have no strength


def create_dataset(
    *,
    project: Project,
    by: User | None = None,
    filters: Filters = NO_FILTERS,
    start: Version | None = None,
    settlement: Settlement | None = None,
) -> Dataset:
    """A snapshot of the project's triples; the newest one if nothing has changed since. Raises NothingToTrainOn.

    `start`: the version that training starts from, for filters that ask for it. `settlement`: what the filters give, if
    that is known already.
    """
    settlement = settlement or settle_filtered(project=project, filters=filters, start=start, fresh=True)
    if not (settlement.triples or settlement.singles):
        raise NothingToTrainOn(_why_nothing(settlement))
    project_dir = settings.DATASETS_DIR / project.slug
    partial = project_dir / f".partial-{os.getpid()}-{id(settlement)}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        hashes = {split: _write(partial / name, settlement, split) for split, name in FILES.items()}
        kept = filters.as_json() | _how(project, settlement) | ({"start": start.number} if filters.fresh and start else {})
        if filters.unpaired:
            kept["singles"] = len(settlement.singles)
        if filters.ties:
            kept["tied"] = sum(triple.tie for triple in settlement.triples)
        if excluded := excluded_people(project):
            kept["people_left_out"] = len(excluded)
        return _record(project, by, settlement, partial, hashes, kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@transaction.atomic
def _record(
    project: Project, by: User | None, settlement: Settlement, partial: Path, hashes: dict[Split, str], filters: dict
) -> Dataset:
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = project.datasets.order_by("-number").first()
    made = (hashes[Split.TRAIN], hashes[Split.HELDOUT], filters)
    if newest and (newest.train_sha256, newest.heldout_sha256, newest.filters) == made:
        return newest
    number = (project.datasets.aggregate(newest=Max("number"))["newest"] or 0) + 1
    directory = settings.DATASETS_DIR / project.slug / f"d{number}"
    if directory.exists():  # left by a crash before its row was written
        shutil.rmtree(directory)
    partial.rename(directory)
    rows = [*settlement.triples, *settlement.singles]
    counted = {split: sum(row.split == split for row in rows) for split in FILES}
    dataset = Dataset.objects.create(
        project=project,
        number=number,
        directory=str(directory.relative_to(settings.VAR_DIR)),
        train_sha256=hashes[Split.TRAIN],
        heldout_sha256=hashes[Split.HELDOUT],
        train_count=counted[Split.TRAIN],
        heldout_count=counted[Split.HELDOUT],
        counts=dict(settlement.counts),
        filters=filters,
        created_by=by,
    )
    _link_judgements(dataset, sorted({pk for row in rows for pk in row.judgement_ids}))
    (directory / CARD_FILE).write_text(card_of_dataset(dataset), encoding="utf-8")
    return dataset


def _how(project: Project, settlement: Settlement) -> dict[str, object]:
    """By what the triples were made; what is as it is by default is left out."""
    how: dict[str, object] = {"consensus": settlement.rule}
    if settlement.rule == Consensus.RELIABILITY:
        how["confidence_bar"] = project.confidence_bar
    if project.least_grade:
        how["least_grade"] = project.least_grade
    return how


def _link_judgements(dataset: Dataset, judgement_ids: Sequence[int]) -> None:
    link = Dataset.judgements.through
    for start in range(0, len(judgement_ids), ROWS_AT_ONCE):
        link.objects.bulk_create(
            link(dataset_id=dataset.pk, judgement_id=pk) for pk in judgement_ids[start : start + ROWS_AT_ONCE]
        )


def _write(path: Path, settlement: Settlement, split: Split) -> str:
    """The triples and then the single answers of one split, flushed to disk and read-only. Returns the file's SHA-256."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        trl.write((triple for triple in settlement.triples if triple.split == split), file)
        for single in settlement.singles:
            if single.split == split:
                file.write(json.dumps(kto.row_of_single(single), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_nothing(settlement: Settlement) -> str:
    reasons = ", ".join(reasons_in_words(settlement.counts))
    if not reasons:
        return f"Nothing has been judged yet. Judge some comparisons first; {GOOD_START} are a good start."
    return f"No judged comparison says which answer is better ({reasons}). Judge some more; {GOOD_START} are a good start."
