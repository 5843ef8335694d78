"""A run of a project with too many judgements for a request: its worker takes the dataset."""

import json
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import call_command

from tests import builders
from tests.training.judges import judge_all, shorter
from tests.training.test_datasets import add_pairs
from training.datasets.filters import Filters
from training.dpo.errors import ConfigError
from training.models import Dataset, Run
from training.models.job import JobState
from training.runs import ordering, supervision
from training.runs.ordering import RunRefused, cancel_run, resume_run, start_run
from training.runs.supervision import run_training

pytestmark = pytest.mark.usefixtures("var_dir")


@pytest.fixture
def large(project, annotator, monkeypatch):
    """Five judgements, of which a request reads four."""
    monkeypatch.setattr(ordering, "MOST_AT_ONCE", 4)
    builders.make_version(project, serving=True)
    add_pairs(project)
    judge_all(project, annotator, shorter)
    return project


@pytest.fixture
def work(monkeypatch):
    """A worker whose trainer ends at once, with that code."""
    monkeypatch.setattr(supervision, "TRAINER", (sys.executable, str(Path(__file__).with_name("fake_trainer.py"))))
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.02)

    def on(run: Run, code: int = 3) -> Run:
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / "script.json").write_text(json.dumps([["exit", code]]))
        run_training(run.pk)
        run.refresh_from_db()
        return run

    return on


@pytest.fixture
def while_it_reads(monkeypatch, settings):
    """Something happens while a worker reads the judgements."""
    settings.HEARTBEAT_SECONDS = 0

    def happens(what) -> None:
        def create(**asked):
            what()
            return original(**asked)

        original = ordering.create_dataset
        monkeypatch.setattr(ordering, "create_dataset", create)

    return happens


def test_its_worker_takes_what_is_judged_when_it_begins(large, annotator, manager, work) -> None:
    run = start_run(project=large, by=manager, filters=Filters(people=(annotator.pk,)), overrides={"beta": 0.3})
    assert (run.state, run.dataset, run.filters) == (JobState.QUEUED, None, {"people": [annotator.pk]})
    assert not Dataset.objects.exists()
    add_pairs(large, train=1, heldout=0)
    judge_all(large, annotator, shorter)
    run = work(run)
    assert (run.dataset.train_count, run.dataset.heldout_count, run.dataset.created_by) == (4, 2, manager)
    assert run.dataset.filters["people"] == [annotator.pk]
    told = json.loads((run.path / "asked.json").read_text())
    assert told["train"] == str(run.dataset.path / "train.jsonl") and told["provenance"]["dataset"] == run.dataset.number


def test_a_small_one_is_taken_at_once(large, monkeypatch) -> None:
    monkeypatch.setattr(ordering, "MOST_AT_ONCE", 5)
    run = start_run(project=large)
    assert run.dataset.train_count == 3 and run.filters == {}


def test_what_cannot_be_is_refused_at_once_all_the_same(large, monkeypatch) -> None:
    with pytest.raises(ConfigError):
        start_run(project=large, overrides={"beta": -1})
    estimate_run = ordering.estimate_run
    monkeypatch.setattr(ordering, "estimate_run", lambda **asked: replace(estimate_run(**asked), refusal="It cannot fit."))
    with pytest.raises(RunRefused, match="It cannot fit"):
        start_run(project=large)
    assert not Run.objects.exists()


def test_where_nothing_trains_the_run_says_so_and_can_be_taken_up_again(large, annotator, work) -> None:
    large.prompts.update(split="heldout")
    run = work(start_run(project=large))
    assert run.state == JobState.FAILED and run.dataset is None
    assert run.error == "All 5 decided pairs belong to held-out prompts, which never train. Judge some more."
    large.prompts.update(split="train")
    assert resume_run(run=run)
    assert work(run).dataset.train_count == 5


def test_it_can_be_cancelled_while_it_is_taken(large, work, while_it_reads) -> None:
    run = start_run(project=large)
    while_it_reads(lambda: cancel_run(run=Run.objects.get(pk=run.pk)))
    run = work(run)
    assert run.state == JobState.CANCELLED and run.dataset is None and not Dataset.objects.exists()


def test_another_worker_that_has_taken_it_up_is_left_alone(large, work, while_it_reads) -> None:
    run = start_run(project=large)
    other = uuid.uuid4()
    while_it_reads(lambda: Run.objects.update(claim=other))
    run = work(run)
    assert (run.state, run.claim, run.dataset) == (JobState.RUNNING, other, None)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.FAILED])
def test_every_page_shows_a_run_without_a_dataset(large, client, manager, state, capsys) -> None:
    call_command("train", "--project", large.slug)
    assert "trains v0 on a dataset that its worker takes" in capsys.readouterr().out
    Run.objects.update(state=state, filters={"min_strength": 2})
    start_run(project=large, beside_others=True)
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    page = "/projects/taste/"
    shown = client.get(page + "runs/1/").content.decode()
    said = {
        JobState.QUEUED: "a worker reads it, when it begins", JobState.RUNNING: "Reading what has been judged, for its dataset",
        JobState.FAILED: "It was not taken",
    }  # fmt: skip
    assert said[state] in shown and "Nothing is held out" not in shown and "0 pairs" not in shown
    assert 'id="run-dataset" hx-swap-oob' in client.get(page + "runs/1/", headers={"HX-Request": "true"}).content.decode()
    for address in (page, page + "runs/", page + "runs/compare/?run=1&run=2", page + "versions/0/"):
        assert client.get(address).status_code == 200, address
    like = client.get(page + "train/?like=1")
    assert like.context["form"]["min_strength"].value() == 2
    told = client.get("/api/v1/projects/taste/runs/1/").json()
    assert told["dataset"] is None and told["state"] == state
