"""Datasets: what has been judged so far, as files that never change."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.singles import Single, read_rated
from annotate.consensus.triples import Settlement, Triple, settle
from annotate.formats import kto, trl
from annotate.models import Judgement, Project, User
from annotate.models.comparison import Purpose
from annotate.models.project import Consensus
from annotate.models.prompt import Split
from training.datasets.cards import CARD_FILE, card_of_dataset
from training.datasets.filters import NO_FILTERS, Filters
from training.models import Dataset, Version
from training.wording import reasons_in_words

FILES = {Split.TRAIN: "train.jsonl", Split.HELDOUT: "heldout.jsonl"}
GOOD_START = 30  # triples: fewer rarely move a model beyond noise
ROWS_AT_ONCE = 500  # SQLite takes a limited number of variables


class NothingToTrainOn(Exception):
    """There is no triple; the text says why and what to do."""


@dataclass(frozen=True)
class Size:
    """How much text a triple, or many, hold: characters."""

    prompt: int = 0
    answers: int = 0
    longest: int = 0  # of one triple, the prompt once
    triples: int = 0


@dataclass(frozen=True)
class Preview:
    """What a dataset made now would hold."""

    train: int  # triples, and single answers where they count
    heldout: int
    new: int  # of those that would train, with a judgement that the dataset asked about does not hold
    without: dict[str, int]  # comparisons that give no triple, by reason
    left_out: int = 0  # judged training comparisons that the filters do not look at
    other: dict[str, int] = field(default_factory=dict)  # judged comparisons of other purposes, which never train
    size: Size = Size()  # of those that would train
    size_heldout: Size = Size()
    singles: int = 0  # of those that would train: answers by themselves
    singles_heldout: int = 0

    @property
    def few(self) -> str:
        """A word to whoever is about to train on less than a good start; it is allowed all the same."""
        if not 0 < self.train < GOOD_START:
            return ""
        return f"So few triples rarely move a model beyond noise; {GOOD_START} are a good start."


def preview_dataset(
    *, project: Project, since: Dataset | None = None, filters: Filters = NO_FILTERS, start: Version | None = None
) -> Preview:
    """`start`: the version that training would start from."""
    return preview_of(settle_filtered(project=project, filters=filters, start=start), project=project, since=since)


def preview_of(settlement: Settlement, *, project: Project, since: Dataset | None = None) -> Preview:
    rows = [*settlement.triples, *settlement.singles]
    training = [row for row in rows if row.split == Split.TRAIN]
    known = _judgements_in(since) if since else frozenset()
    judged = _judged_by_purpose(project)
    looked_at = len({triple.comparison_id for triple in settlement.triples}) + sum(settlement.counts.values())
    return Preview(
        train=len(training),
        heldout=len(rows) - len(training),
        new=sum(_is_new(row, known, since) for row in training),
        without=dict(settlement.counts),
        left_out=max(0, judged.pop(Purpose.TRAIN, 0) - looked_at),
        other=judged,
        size=size_of(training),
        size_heldout=size_of([row for row in rows if row.split != Split.TRAIN]),
        singles=sum(single.split == Split.TRAIN for single in settlement.singles),
        singles_heldout=sum(single.split != Split.TRAIN for single in settlement.singles),
    )


def _is_new(row: Triple | Single, known: frozenset[int], since: Dataset | None) -> bool:
    if isinstance(row, Single) and row.said_at:
        return since is None or row.said_at > since.created_at
    return not known.issuperset(row.judgement_ids)


def settle_filtered(*, project: Project, filters: Filters, start: Version | None, fresh: bool = False) -> Settlement:
    """The triples that the filters leave. Those whose strength is too small are counted as "weak".

    With `fresh`, the rule “by reliability” goes by an estimate of all the judgements that there are now.
    """
    chosen = filters.chosen(project=project, start=start)
    settlement = settle(project=project, chosen=chosen, fresh=fresh, with_singles=filters.unpaired)
    if filters.min_strength == 1:
        rated = read_rated(project=project, chosen=filters.ratings(start=start)) if filters.unpaired else ()
        return replace(settlement, singles=[*settlement.singles, *rated])
    strong = [triple for triple in settlement.triples if triple.strength >= filters.min_strength]
    weak = settlement.counts["weak"]  # for the project's least grade
    kept, all_of_them = ({triple.comparison_id for triple in triples} for triples in (strong, settlement.triples))
    counts = settlement.counts | {"weak": weak + len(all_of_them - kept)}
    return replace(settlement, triples=strong, counts=counts, singles=[])  # which have no strength


def size_of(triples: Sequence[Triple | Single]) -> Size:
    prompts = [sum(len(message["content"]) for message in triple.prompt) for triple in triples]
    answers = [len(triple.chosen) + len(triple.rejected) for triple in triples]
    longest = max((one + both for one, both in zip(prompts, answers, strict=True)), default=0)
    return Size(prompt=sum(prompts), answers=sum(answers), longest=longest, triples=len(triples))


def _judged_by_purpose(project: Project) -> dict[str, int]:
    """Comparisons that were ever judged, those that were taken back included."""
    judged = Judgement.objects.filter(comparison__project=project).values_list("comparison_id", "comparison__purpose")
    return dict(Counter(purpose for _, purpose in judged.order_by().distinct()))


def _judgements_in(dataset: Dataset) -> frozenset[int]:
    links = Dataset.judgements.through.objects.filter(dataset=dataset)
    return frozenset(links.values_list("judgement_id", flat=True))


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
