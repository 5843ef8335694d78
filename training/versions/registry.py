"""Versions: bringing them in, and which one serves."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from annotate.models import Project, User
from annotate.models.project import Promoting
from annotate.queue.claims import supersede
from training.models import Endpoint, Promotion, Run, Version
from training.models.version import ADDED
from training.versions.base_models import ModelInfo, import_model


class PromotionRefused(Exception):
    """The version cannot serve; the text says why."""


def serving_version(project: Project) -> Version | None:
    """The version that generates now."""
    newest = Promotion.objects.filter(project=project).select_related("version__project").first()
    return newest.version if newest else None


@transaction.atomic
def promote(*, version: Version, by: User | None = None, why: str = "") -> Promotion:
    """Make `version` the serving one, and the queue its queue; it comes out of the archive. If it serves already, nothing
    changes. Raises PromotionRefused.
    """
    project = lock_project(version.project)
    if Version.objects.filter(pk=version.pk, removal_asked_at__isnull=False).exists():
        raise PromotionRefused(f"The files of {version} have been deleted, so it cannot serve.")
    newest = Promotion.objects.filter(project=project).first()
    if newest and newest.version_id == version.pk:
        return newest
    promotion = Promotion.objects.create(project=project, version=version, by=by, why=why[:300])
    version.archived_at = None
    version.save(update_fields=["archived_at"])
    supersede(project=project, version_id=version.pk)
    return promotion


def add_base_version(
    *, project: Project, source: str, name: str = "", by: User | None = None, serve: bool = False
) -> tuple[Version, bool]:
    """Import `source` (`training.versions.base_models`) as a version without a parent. Returns it, and whether it is new here.

    The same source again gives the same version. Raises ModelError.
    """
    info = import_model(source, settings.MODELS_DIR, name=name)
    directory = _below_var(info.directory)
    with transaction.atomic():
        project = lock_project(project)
        version = project.versions.filter(directory=directory).first()
        created = version is None
        if version is None:
            version = _create_base(project, info, directory)
        elif version.is_removed:  # its files have just been brought back
            version.removal_asked_at = version.removed_at = version.archived_at = None
            version.save(update_fields=["removal_asked_at", "removed_at", "archived_at"])
        if serve:
            promote(version=version, by=by, why=ADDED)
    return version, created


@transaction.atomic
def add_endpoint_version(*, endpoint: Endpoint) -> Version:
    """The version that an endpoint is: without weights, so it generates and is evaluated but is not trained. Once each."""
    project = lock_project(endpoint.project)
    version = Version.objects.filter(endpoint=endpoint).first()
    return version or Version.objects.create(
        project=project, number=_next_number(project), name=endpoint.model, endpoint=endpoint, metrics={"source": "endpoint"}
    )


def _create_base(project: Project, info: ModelInfo, directory: str) -> Version:
    metrics = {
        "source": info.source,
        "sha256": info.sha256,
        "architecture": info.architecture,
        "stored_dtype": info.stored_dtype,
        "context_length": info.context_length,
    }
    return Version.objects.create(
        project=project,
        number=_next_number(project),
        name=info.name,
        directory=directory,
        serve_dtype=info.serve_dtype,
        parameters=info.parameters,
        size_bytes=info.size_bytes,
        metrics=metrics,
    )


def register_run(*, run: Run) -> Version:
    """The version that a finished run made; it starts to serve if the project wants that. Twice gives the same version."""
    record = json.loads((run.path / "model" / "prefloop.json").read_text(encoding="utf-8"))
    with transaction.atomic():
        project = lock_project(run.project)
        version = Version.objects.filter(run=run).first()
        if version is None:
            version = _create_from_run(project, run, record)
            if project.promoting == Promoting.AT_ONCE:
                promote(version=version, by=run.started_by, why=f"{run} finished")
    return version


def _create_from_run(project: Project, run: Run, record: dict[str, Any]) -> Version:
    directory = run.path / "model"
    return Version.objects.create(
        project=project,
        number=_next_number(project),
        name=f"{run.parent.name.split(' + ')[0]} + {run}",
        parent=run.parent,
        run=run,
        directory=_below_var(directory),
        serve_dtype=record["serve_dtype"],
        parameters=run.parent.parameters,
        size_bytes=sum(path.stat().st_size for path in directory.glob("*.safetensors")),
        metrics=metrics_of(record),
    )


def metrics_of(record: dict[str, Any]) -> dict[str, Any]:
    """A version's figures, from the trainer's prefloop.json: what is unknown is left out."""
    train = record["metrics"].get("train") or {}
    heldout = record["metrics"].get("heldout") or {}
    figures = {f"train_{key}": train.get(key) for key in ("loss", "accuracy", "margin")}
    figures |= {f"heldout_{key}": heldout.get(key) for key in ("loss", "accuracy", "margin")}
    figures |= {key: record.get(key) for key in ("train_pairs", "heldout_pairs", "steps", "seconds", "seed")}
    figures |= {f"kept_in_{dtype}": share for dtype, share in record["signal"]["share"].items()}
    return {key: value for key, value in figures.items() if value is not None}


def _next_number(project: Project) -> int:
    newest = project.versions.aggregate(newest=Max("number"))["newest"]
    return 0 if newest is None else newest + 1


def lock_project(project: Project) -> Project:
    """Two at once must not take the same number, nor promote past each other."""
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _below_var(directory: Path) -> str:
    return str(directory.resolve().relative_to(settings.VAR_DIR))
