"""Asking for a run, ending it, and what the trainer is told."""

import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django_tasks_db.models import DBTaskResult

from tests import builders
from tests.training.judges import judge_all, shorter
from tests.training.test_datasets import add_pairs
from training.datasets.snapshots import NothingToTrainOn
from training.dpo.config import Config
from training.dpo.errors import ConfigError
from training.models import Dataset, Run
from training.models.job import JobState
from training.runs.ordering import RunRefused, cancel_run, config_of, resume_run, start_run


@pytest.fixture
def judged(project, annotator, var_dir):
    builders.make_version(project, serving=True)
    add_pairs(project)
    judge_all(project, annotator, shorter)
    return project


def test_a_run_trains_the_serving_version_on_all_that_was_judged(judged, manager) -> None:
    run = start_run(project=judged, by=manager)
    assert (run.number, run.state, run.started_by) == (1, JobState.QUEUED, manager)
    assert run.parent == run.reference == judged.versions.get() and run.dataset == Dataset.objects.get()
    assert run.settings == {"preset": "small", "overrides": {}}
    task = DBTaskResult.objects.get()
    assert (task.args_kwargs["args"], task.queue_name) == ([run.pk], "gpu")


def test_the_trainer_is_told_what_it_understands(judged) -> None:
    run = start_run(project=judged, preset="paper", overrides={"beta": 0.3, "epochs": 2})
    config = Config.from_dict(config_of(run))
    assert (config.beta, config.epochs, config.optimizer, config.preset) == (0.3, 2.0, "rmsprop", "paper")
    assert config.reference is None and config.stop_with_parent
    assert config.train == str(run.dataset.path / "train.jsonl") and config.heldout == str(run.dataset.path / "heldout.jsonl")
    assert config.output == str(run.path) and config.model == str(run.parent.path)
    assert config.provenance["train_sha256"] == run.dataset.train_sha256 and config.provenance["parent_version"] == 0


def test_another_version_may_be_the_parent(judged) -> None:
    other = builders.make_version(judged)
    assert start_run(project=judged, parent=other).parent == other


def test_one_unfinished_run_at_a_time_unless_asked(judged) -> None:
    first = start_run(project=judged)
    with pytest.raises(RunRefused, match="Run 1 is not finished"):
        start_run(project=judged)
    second = start_run(project=judged, beside_others=True)
    assert (second.number, second.dataset) == (2, first.dataset)
    cancel_run(run=first)
    cancel_run(run=second)
    assert start_run(project=judged).number == 3


def test_settings_the_trainer_does_not_take_are_refused_before_anything_is_made(judged) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        start_run(project=judged, overrides={"learning_rat": 1, "beta": -1})
    with pytest.raises(ConfigError, match="preset"):
        start_run(project=judged, preset="big")
    with pytest.raises(ConfigError, match="model, output cannot be chosen"):
        start_run(project=judged, overrides={"model": "/etc", "output": "/tmp"})
    assert not Run.objects.exists() and not Dataset.objects.exists()


def test_without_a_version_or_judgements_it_says_what_to_do(project, var_dir, annotator) -> None:
    with pytest.raises(RunRefused, match="add_model"):
        start_run(project=project)
    builders.make_version(project, serving=True)
    with pytest.raises(NothingToTrainOn, match="Nothing has been judged"):
        start_run(project=project)
    add_pairs(project, train=0, heldout=2)
    judge_all(project, annotator, shorter)
    with pytest.raises(NothingToTrainOn, match="held-out prompts, which never train"):
        start_run(project=project)


def test_cancel_and_resume(judged) -> None:
    run = start_run(project=judged)
    assert not resume_run(run=run)
    assert cancel_run(run=run) and run.state == JobState.CANCELLED
    assert not cancel_run(run=run)
    DBTaskResult.objects.all().delete()
    assert resume_run(run=run) and run.state == JobState.QUEUED and not run.cancel_requested
    assert DBTaskResult.objects.get().args_kwargs["args"] == [run.pk]


def test_a_run_that_began_keeps_its_settings(judged) -> None:
    run = start_run(project=judged)
    run.path.mkdir(parents=True)
    begun = Config.from_dict(config_of(run)).resolved().to_dict() | {"beta": 0.77}
    (run.path / "config.json").write_text(json.dumps(begun))
    assert config_of(run)["beta"] == 0.77 and config_of(run)["stop_with_parent"]


def test_the_command_starts_a_run_and_passes_on_what_is_wrong(judged, capsys) -> None:
    call_command("train", project=judged.slug, preset="paper")
    assert "Run 1 of taste trains v0 on dataset d1: 3 triples, 2 held out." in capsys.readouterr().out
    assert Run.objects.get().settings["preset"] == "paper"
    with pytest.raises(CommandError, match="Run 1 is not finished"):
        call_command("train", project=judged.slug)


def test_a_run_is_not_resumed_beside_another(judged) -> None:
    first = start_run(project=judged)
    cancel_run(run=first)
    second = start_run(project=judged)
    with pytest.raises(RunRefused, match="Run 2 is not finished"):
        resume_run(run=first)
    cancel_run(run=second)
    assert resume_run(run=first)
