"""Versions: brought in once, promoted in order, registered from a run."""

import json
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.models.comparison import ComparisonState
from tests import builders
from training.models import Dataset, Promotion, Run, Version
from training.versions import registry
from training.versions.base_models import ModelInfo
from training.versions.upkeep import remove_files, request_removal

RECORD = {
    "serve_dtype": "float32",
    "metrics": {
        "train": {"loss": 0.5, "accuracy": 0.8, "margin": 0.4, "step": 9},
        "heldout": {"loss": 0.6, "accuracy": 0.7, "margin": 0.2, "pairs": 10, "step": 9},
    },
    "signal": {"share": {"float32": 1.0, "bfloat16": 0.4}},
    "train_pairs": 38,
    "heldout_pairs": 10,
    "steps": 9,
    "seconds": 12.5,
    "seed": 0,
}


def make_run(project, parent, number: int = 1, record: dict = RECORD, **fields) -> Run:
    """A run whose trainer is done."""
    dataset, _ = Dataset.objects.get_or_create(
        project=project, number=1, directory="datasets/x/d1", train_sha256="a", heldout_sha256="b", train_count=38,
        heldout_count=10, counts={}, filters={},
    )  # fmt: skip
    run = Run.objects.create(
        project=project, number=number, dataset=dataset, parent=parent, reference=parent,
        settings={"preset": "small", "overrides": {}}, directory=f"runs/{project.slug}/r{number}", **fields,
    )  # fmt: skip
    (run.path / "model").mkdir(parents=True)
    (run.path / "model" / "model.safetensors").write_bytes(b"12345")
    (run.path / "model" / "prefloop.json").write_text(json.dumps(record))
    return run


def test_the_newest_promotion_serves(project, owner) -> None:
    assert registry.serving_version(project) is None
    one, two = builders.make_version(project), builders.make_version(project)
    registry.promote(version=one, by=owner, why="first")
    registry.promote(version=two)
    assert registry.serving_version(project) == two
    registry.promote(version=one, why="back")
    assert registry.serving_version(project) == one
    assert list(Promotion.objects.order_by("pk").values_list("version__number", "why")) == [(0, "first"), (1, ""), (0, "back")]


def test_promoting_what_serves_changes_nothing(project) -> None:
    version = builders.make_version(project)
    first = registry.promote(version=version)
    assert registry.promote(version=version, why="again") == first and Promotion.objects.count() == 1


def test_promotion_retires_the_pairs_of_others(project) -> None:
    old, new = builders.make_version(project, serving=True), builders.make_version(project)
    comparison = builders.make_comparison(project, version=old)
    registry.promote(version=new)
    comparison.refresh_from_db()
    assert comparison.state == ComparisonState.RETIRED
    registry.promote(version=old)
    comparison.refresh_from_db()
    assert comparison.state == ComparisonState.OPEN


def test_a_projects_promotions_are_its_own(project) -> None:
    other = builders.make_version(builders.make_project(), serving=True)
    assert registry.serving_version(project) is None and registry.serving_version(other.project) == other


def test_a_finished_run_becomes_a_version_that_serves(project, var_dir, manager) -> None:
    base = builders.make_version(project, serving=True, name="tiny", parameters=7)
    run = make_run(project, base, started_by=manager)
    version = registry.register_run(run=run)
    assert (version.number, version.parent, version.run, version.path) == (1, base, run, run.path / "model")
    assert (version.serve_dtype, version.size_bytes, version.parameters) == ("float32", 5, 7)
    assert version.metrics["heldout_accuracy"] == 0.7 and version.metrics["heldout_margin"] == 0.2
    assert version.metrics["kept_in_bfloat16"] == 0.4 and version.metrics["heldout_pairs"] == 10
    promotion = Promotion.objects.first()
    assert (promotion.version, promotion.by) == (version, manager) and "run 1" in promotion.why
    assert registry.register_run(run=run) == version and Promotion.objects.count() == 2 and Version.objects.count() == 2


def test_names_do_not_grow_from_run_to_run(project, var_dir) -> None:
    base = builders.make_version(project, serving=True, name="tiny")
    first = registry.register_run(run=make_run(project, base, 1))
    second = registry.register_run(run=make_run(project, first, 2))
    assert (first.name, second.name) == ("tiny + run 1", "tiny + run 2")


def test_a_run_without_held_out_pairs_or_signal_is_registered_too(project, var_dir) -> None:
    record = RECORD | {"metrics": {"train": {}, "heldout": {}}, "signal": {"share": {"float32": None, "bfloat16": None}}}
    version = registry.register_run(run=make_run(project, builders.make_version(project), record=record))
    assert "heldout_accuracy" not in version.metrics and "kept_in_bfloat16" not in version.metrics


def test_a_project_may_keep_its_serving_version(project, var_dir) -> None:
    project.promoting = "by_hand"
    project.save()
    base = builders.make_version(project, serving=True)
    registry.register_run(run=make_run(project, base))
    assert registry.serving_version(project) == base


@pytest.fixture
def imports(monkeypatch, var_dir):
    """Replace the conversion: any source is a small model."""

    def imported(source: str, directory: Path, *, name: str = "") -> ModelInfo:
        target = directory / f"{source}-1234"
        target.mkdir(parents=True, exist_ok=True)
        return ModelInfo(target, name or source, source, "1234", "LlamaForCausalLM", "bfloat16", 135, 270, 8192)

    monkeypatch.setattr(registry, "import_model", imported)


def test_the_same_source_is_the_same_version_and_the_same_directory(project, imports) -> None:
    version, created = registry.add_base_version(project=project, source="smol", serve=True)
    assert created and version.number == 0 and version.serve_dtype == "bfloat16" and version.parent is None
    assert registry.add_base_version(project=project, source="smol") == (version, False)
    assert registry.serving_version(project) == version
    other, created = registry.add_base_version(project=builders.make_project(), source="smol")
    assert created and other.directory == version.directory == "models/smol-1234"
    second, _ = registry.add_base_version(project=project, source="other")
    assert second.number == 1


def test_a_source_whose_files_were_deleted_can_be_added_again(project, imports) -> None:
    version, _ = registry.add_base_version(project=project, source="smol")
    request_removal(version=version)
    remove_files(version_id=version.pk)
    again, created = registry.add_base_version(project=project, source="smol", serve=True)
    assert again == version and not created and again.path.is_dir()
    again.refresh_from_db()
    assert not again.is_removed and again.removed_at is None and again.archived_at is None
    assert registry.serving_version(project) == again


def test_add_model_says_what_it_did(project, imports, capsys) -> None:
    call_command("add_model", "smol", project=project.slug, serve=True, name="My model")
    out = capsys.readouterr().out
    assert "My model is now v0 of taste" in out and out.endswith(f"in {project.versions.get().directory}. It serves.\n")
    call_command("add_model", "smol", project=project.slug)
    assert "was already v0" in capsys.readouterr().out


def test_add_model_names_the_projects_there_are(project) -> None:
    with pytest.raises(CommandError, match=r"no project “tast”\. Projects: taste"):
        call_command("add_model", "smol", project="tast")


@pytest.mark.torch
def test_add_model_passes_on_what_is_wrong_with_the_source(project, var_dir, tiny_model, tmp_path) -> None:
    source = shutil.copytree(tiny_model, tmp_path / "source")
    (source / "config.json").unlink()
    with pytest.raises(CommandError, match=r"holds no config\.json"):
        call_command("add_model", str(source), project=project.slug)
    assert not Version.objects.exists()
