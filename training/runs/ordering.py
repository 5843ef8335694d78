"""Runs: asking for one, ending it, going on with it. The work is done in `training.runs.supervision`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from annotate.models import Project, User
from annotate.quality.counts import has_more_than
from training import tasks
from training.datasets.filters import NO_FILTERS, Filters
from training.datasets.kept_previews import LONGER_SECONDS, SAMPLE_SECONDS, kept_preview
from training.datasets.previews import Preview
from training.datasets.snapshots import NothingToTrainOn, create_dataset
from training.dpo.config import FIELDS, Config, hyperparameters, read_config_file
from training.dpo.errors import ConfigError
from training.models import Dataset, Run, Version
from training.runs.estimate import Estimate, estimate_run
from training.versions.registry import serving_version
from training.worker import jobs

__all__ = [
    "ConfigError", "NothingToTrainOn", "Order", "RunRefused", "cancel_run", "config_of", "plan_run", "resume_run", "start_run",
    "take_dataset",
]  # fmt: skip
MOST_PROCESSES = 64
MOST_AT_ONCE = 10_000  # judgements: a request reads them in a few seconds
SINGLES_TRAIN = "kto"  # the loss that learns from ratings and both-bad pairs, too
TIES_TRAIN = "dpo_ties"  # the loss that learns from ties, too


class RunRefused(NothingToTrainOn):
    """A run that cannot be started or taken up again now; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for. What is not given: the project's preset, the serving version as parent, the parent as reference."""

    preset: str = ""
    overrides: Mapping[str, Any] | None = None
    parent: Version | None = None
    reference: Version | None = None
    filters: Filters = NO_FILTERS
    processes: int = 1


@dataclass(frozen=True)
class Plan:
    """What will happen if the run is started now."""

    preview: Preview
    estimate: Estimate
    parent: Version
    reference: Version


def plan_run(*, project: Project, order: Order, seconds: float = SAMPLE_SECONDS) -> Plan:
    """What `order` would train on and take, counted for about so many seconds at most. Raises RunRefused (no version serves)
    or ConfigError."""
    checked = _checked(project, order)
    preview = kept_preview(project=project, filters=checked.filters, start=checked.parent, seconds=seconds)
    return Plan(preview, _estimate(project, order, checked, preview), checked.parent, checked.reference)


@dataclass(frozen=True)
class _Checked:
    parent: Version
    reference: Version
    asked: dict[str, Any]
    config: Config
    filters: Filters  # with single answers or ties if the loss learns from them


def _checked(project: Project, order: Order) -> _Checked:
    parent = order.parent or serving_version(project)
    if parent is None:
        raise RunRefused(
            f"No model serves yet. Add one first: .venv/bin/python manage.py add_model smollm2 --project {project.slug} --serve"
        )
    reference = order.reference or parent
    for version in (parent, reference):
        _require_weights(version)
    if not 1 <= order.processes <= MOST_PROCESSES:
        raise RunRefused(f"A run takes 1 to {MOST_PROCESSES} processes, not {order.processes}.")
    asked = {"preset": order.preset or project.preset, "overrides": dict(order.overrides or {})}
    config = _check(asked, own_reference=reference != parent)
    filters = replace(order.filters, unpaired=config.loss == SINGLES_TRAIN, ties=config.loss == TIES_TRAIN)
    return _Checked(parent, reference, asked, config, filters)


def _estimate(project: Project, order: Order, checked: _Checked, preview: Preview) -> Estimate:
    return estimate_run(project=project, preview=preview, parent=checked.parent, config=checked.config, processes=order.processes)


def start_run(
    *, project: Project, by: User | None = None, order: Order | None = None, beside_others: bool = False, **asked: Any
) -> Run:
    """A run on what has been judged so far, queued. What is asked for is an `order`, or the fields of one. Where more than
    MOST_AT_ONCE judgements are to be read, its worker takes the dataset.

    Raises NothingToTrainOn, RunRefused (no version; it cannot fit; another run is unfinished, unless `beside_others`) or
    ConfigError (a preset or setting the trainer does not take).
    """
    order = order or Order(**asked)
    _refuse_second(project, beside_others)
    checked = _checked(project, order)
    dataset = None
    if not has_more_than(MOST_AT_ONCE, project=project):
        dataset = _take(project, checked.filters, checked.parent, by=by)
    preview = kept_preview(project=project, filters=checked.filters, start=checked.parent, seconds=LONGER_SECONDS)
    estimate = _estimate(project, order, checked, preview)
    if estimate.refusal:
        raise RunRefused(estimate.refusal)
    return _create(project, order, checked, dataset, by=by, beside_others=beside_others)


def take_dataset(*, run: Run, pulse: Callable[[], object]) -> Dataset:
    """A worker's part, where very much has been judged: what is there when it begins. `pulse` is called now and then.

    Raises NothingToTrainOn.
    """
    filters = Filters.read(run.filters, project=run.project)
    return _take(run.project, filters, run.parent, by=run.started_by, pulse=pulse)


def _take(
    project: Project, filters: Filters, parent: Version, *, by: User | None, pulse: Callable[[], object] = lambda: None
) -> Dataset:
    dataset = create_dataset(project=project, by=by, filters=filters, start=parent, pulse=pulse)
    if not dataset.train_count:
        raise NothingToTrainOn(
            f"All {dataset.heldout_count} decided pairs belong to held-out prompts, which never train. Judge some more."
        )
    return dataset


def _require_weights(version: Version) -> None:
    """Only what is here as weights can be trained, or be a reference."""
    if version.is_removed:
        raise RunRefused(f"The files of {version} have been deleted. Choose another version to start from.")
    if version.is_endpoint:
        raise RunRefused(
            f"{version} is an endpoint: its weights are not here, so it cannot be trained. Choose a version with weights to "
            "start from, or add one: `manage.py add_model smollm2 --project SLUG`. "
            "The judgements of its answers train that one, too."
        )


@transaction.atomic
def _create(
    project: Project, order: Order, checked: _Checked, dataset: Dataset | None, *, by: User | None, beside_others: bool
) -> Run:
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    _refuse_second(project, beside_others)  # once more, now that nobody else can start one
    number = (project.runs.aggregate(newest=Max("number"))["newest"] or 0) + 1
    run = Run.objects.create(
        project=project,
        number=number,
        dataset=dataset,
        filters={} if dataset else checked.filters.as_json(),
        parent=checked.parent,
        reference=checked.reference,
        settings=checked.asked,
        processes=order.processes,
        directory=str((settings.RUNS_DIR / project.slug / f"r{number}").relative_to(settings.VAR_DIR)),
        started_by=by,
    )
    tasks.train.enqueue(run.pk)
    return run


def _check(asked: dict[str, Any], *, own_reference: bool = False) -> Config:
    """Raises one ConfigError for all that the trainer would refuse, and for keys that are not the user's to choose."""
    ours = set(asked["overrides"]) & (FIELDS.keys() - {setting.name for setting in hyperparameters()})
    if ours:
        raise ConfigError(f"The settings of the run: {', '.join(sorted(ours))} cannot be chosen; Prefloop sets it.")
    paths = {"model": "m", "train": "t", "output": "o"} | ({"reference": "r"} if own_reference else {})
    return Config.from_dict({**_trainer_settings(asked), **paths}, where="The settings of the run")


def _refuse_second(project: Project, beside_others: bool) -> None:
    other = None if beside_others else project.runs.unfinished().order_by("number").first()
    if other:
        raise RunRefused(f"{str(other).capitalize()} is not finished. Wait for it, or cancel it first.")


def cancel_run(*, run: Run) -> bool:
    """Stop a run: its trainer writes a checkpoint, from which it can be resumed. False if it is over already."""
    return jobs.request_cancel(job=run)


@transaction.atomic
def resume_run(*, run: Run) -> bool:
    """Go on with a cancelled or failed run from its checkpoint. False if there is nothing to resume.

    Raises RunRefused while another run of the project is unfinished.
    """
    Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    other = run.project.runs.unfinished().exclude(pk=run.pk).first()
    if other:
        raise RunRefused(f"{str(other).capitalize()} is not finished. Wait for it, or cancel it first.")
    queued = jobs.queue_again(job=run)
    if queued:
        tasks.train.enqueue(run.pk)
    return queued


def config_of(run: Run) -> dict[str, Any]:
    """What the trainer is told. A run that has begun keeps the very settings it began with."""
    config = {
        **_trainer_settings(run.settings),
        "model": str(run.parent.path),
        "reference": None if run.reference_id == run.parent_id else str(run.reference.path),
        "train": str(run.dataset.path / "train.jsonl"),
        "heldout": str(run.dataset.path / "heldout.jsonl") if run.dataset.heldout_count else None,
        "output": str(run.path),
        "reference_cache": str(settings.VAR_DIR / "reference-cache"),
        "stop_with_parent": True,
        "provenance": {
            "project": run.project.slug,
            "run": run.number,
            "parent_version": run.parent.number,
            "reference_version": run.reference.number,
            "dataset": run.dataset.number,
            "train_sha256": run.dataset.train_sha256,
            "heldout_sha256": run.dataset.heldout_sha256,
        },
    }
    begun = run.path / "config.json"
    if begun.is_file():
        kept = read_config_file(begun)  # where defaults changed with an update of this program in between
        config = {**kept, "stop_with_parent": True, "reference_cache": config["reference_cache"]}
    return config


def _trainer_settings(asked: dict[str, Any]) -> dict[str, Any]:
    return {"preset": asked["preset"], **asked["overrides"]}
