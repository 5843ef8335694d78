"""Runs: asking for one, ending it, going on with it. The work is done in `training.supervision`."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from annotate.models import Project, User
from training import jobs, tasks
from training.datasets import NothingToTrainOn, create_dataset
from training.dpo.config import FIELDS, Config, hyperparameters, read_config_file
from training.dpo.errors import ConfigError
from training.models import Dataset, Run, Version
from training.registry import serving_version

__all__ = ["ConfigError", "NothingToTrainOn", "RunRefused", "cancel_run", "config_of", "resume_run", "start_run"]


class RunRefused(NothingToTrainOn):
    """A run that cannot be started or taken up again now; the text says why and what to do."""


def start_run(
    *,
    project: Project,
    by: User | None = None,
    preset: str | None = None,
    overrides: dict[str, Any] | None = None,
    parent: Version | None = None,
    beside_others: bool = False,
) -> Run:
    """A run on all that has been judged so far, from `parent` (the serving version if not given), queued.

    Raises NothingToTrainOn, RunRefused (no version; another run is unfinished, unless `beside_others`) or ConfigError
    (a preset or setting the trainer does not take).
    """
    parent = parent or serving_version(project)
    if parent is None:
        raise RunRefused("No model serves yet. Add one first: `manage.py add_model smollm2 --project SLUG --serve`.")
    if parent.is_endpoint:
        raise RunRefused(
            f"{parent} is an endpoint: its weights are not here, so it cannot be trained. Choose a version with weights to start "
            "from, or add one: `manage.py add_model smollm2 --project SLUG`. The judgements of its answers train that one, too."
        )
    _refuse_second(project, beside_others)
    asked = {"preset": preset or project.preset, "overrides": overrides or {}}
    _check(asked)
    dataset = create_dataset(project=project, by=by)
    if not dataset.train_count:
        raise NothingToTrainOn(
            f"All {dataset.heldout_count} decided pairs belong to held-out prompts, which never train. Judge some more."
        )
    return _create(project=project, parent=parent, dataset=dataset, asked=asked, by=by, beside_others=beside_others)


@transaction.atomic
def _create(*, project: Project, parent: Version, dataset: Dataset, asked: dict, by: User | None, beside_others: bool) -> Run:
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    _refuse_second(project, beside_others)  # once more, now that nobody else can start one
    number = (project.runs.aggregate(newest=Max("number"))["newest"] or 0) + 1
    run = Run.objects.create(
        project=project,
        number=number,
        dataset=dataset,
        parent=parent,
        reference=parent,
        settings=asked,
        directory=str((settings.RUNS_DIR / project.slug / f"r{number}").relative_to(settings.VAR_DIR)),
        started_by=by,
    )
    tasks.train.enqueue(run.pk)
    return run


def _check(asked: dict[str, Any]) -> None:
    """Raises one ConfigError for all that the trainer would refuse, and for keys that are not the user's to choose."""
    ours = set(asked["overrides"]) & (FIELDS.keys() - {setting.name for setting in hyperparameters()})
    if ours:
        raise ConfigError(f"The settings of the run: {', '.join(sorted(ours))} cannot be chosen; Prefloop sets it.")
    Config.from_dict({**_trainer_settings(asked), "model": "m", "train": "t", "output": "o"}, where="The settings of the run")


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
