"""The loop with a tiny model and the real trainer: generate, judge, train, serve; and what a kill leaves of it."""

import hashlib
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from annotate.models import Comparison
from annotate.models.comparison import ComparisonState
from annotate.models.prompt import Split
from tests import builders
from tests.training.judges import judge_all, shorter
from tests.training.workers import wait_for, worker
from training.clock import automation
from training.generation.pairs import run_generation
from training.models import Generation, Run, Version
from training.models.job import JobState
from training.runs.ordering import cancel_run, resume_run, start_run
from training.runs.supervision import run_training
from training.versions import registry
from training.versions.description import describe_version

pytestmark = pytest.mark.torch

QUICK = {
    "learning_rate": 1e-3, "batch_pairs": 4, "micro_batch_tokens": 2000, "device": "cpu", "threads": 1, "heldout_every": 10,
    "checkpoint_every": 5, "seed": 7,
}  # fmt: skip


@pytest.fixture
def prompts(project, base):
    project.queue_low, project.queue_high = 9, 10
    project.save()
    for split in [Split.TRAIN] * 8 + [Split.HELDOUT] * 3:
        builders.make_prompt(project, split=split)


def refill(project) -> Generation:
    generation = automation.start_generation(project)
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert generation.state == JobState.DONE, generation.error
    return generation


def weights(version_or_run: Run | Version) -> str:
    directory = version_or_run.path / "model" if isinstance(version_or_run, Run) else version_or_run.path
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def test_the_whole_loop(project, base, prompts, annotator, manager) -> None:
    refill(project)
    assert judge_all(project, annotator, shorter) == 10
    run = start_run(project=project, by=manager, overrides=QUICK | {"max_steps": 6})
    run_training(run.pk)
    run.refresh_from_db()
    assert (run.state, run.progress, run.total) == (JobState.DONE, 6, 6), run.error

    version = registry.serving_version(project)
    assert version == run.version and version.parent == base and version.number == 1
    assert weights(version) != weights(base) and "heldout_accuracy" in version.metrics
    assert [e.step for e in run.events.filter(kind="step")] == [1, 2, 3, 4, 5, 6]
    assert run.events.filter(kind="heldout").exists() and run.events.filter(kind="done").count() == 1
    assert "step 6/6" in run.log_tail

    assert not Comparison.objects.claimable().exists()
    assert automation.generation_is_due(project)
    refill(project)
    fresh = Comparison.objects.open().select_related("first")
    assert fresh.count() == 10 and {c.first.version_id for c in fresh} == {version.pk}
    describe_version(version=version)
    assert version.metrics["kl"] is not None and base.completions.filter(temperature=0).count() == 3

    judge_all(project, annotator, shorter)
    second = start_run(project=project)
    assert second.parent == version and second.dataset.train_count > run.dataset.train_count


def test_two_processes_train_together_and_end_together(project, base, prompts, annotator) -> None:
    refill(project)
    judge_all(project, annotator, shorter)
    run = start_run(project=project, overrides=QUICK | {"max_steps": 3}, processes=2)
    run_training(run.pk)
    run.refresh_from_db()
    assert (run.state, run.progress) == (JobState.DONE, 3), run.error
    assert run.version.path.is_dir() and (run.path / "trainer-1.log").exists()
    assert [event.step for event in run.events.filter(kind="step")] == [1, 2, 3]


def test_a_promotion_retires_pairs_that_nobody_judged(project, base, prompts, annotator) -> None:
    refill(project)
    registry.promote(version=builders.make_version(project))
    assert set(Comparison.objects.values_list("state", flat=True)) == {ComparisonState.RETIRED}


def test_bad_settings_and_missing_files_fail_with_the_trainers_words(project, base, prompts, annotator) -> None:
    refill(project)
    judge_all(project, annotator, shorter)
    run = start_run(project=project, overrides=QUICK)
    (run.dataset.path / "train.jsonl").unlink()
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.FAILED and "train.jsonl" in run.error
    assert registry.serving_version(project) == base


def process_of(run: Run) -> int | None:
    run.refresh_from_db()
    return run.pid


def is_gone(pid: int) -> bool:
    """No process, or one that nobody has collected yet (its parent was killed)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes")
@pytest.mark.django_db(transaction=True)
def test_a_run_survives_its_worker_and_ends_with_the_same_weights(project, base, prompts, annotator) -> None:
    """kill -9 on the worker in mid-run; Ctrl-C on the next; cancel and resume; against a run that nothing happened to."""
    assert connection.vendor == "sqlite"
    refill(project)
    judge_all(project, annotator, shorter)
    project.promoting = "by_hand"
    project.save()
    hurt = start_run(project=project, overrides=QUICK | {"max_steps": 250})

    def steps() -> int:
        return hurt.events.filter(kind="step").count()

    first = worker()
    wait_for(lambda: steps() >= 5)
    pid = process_of(hurt)
    first.kill()
    first.wait()
    wait_for(lambda: is_gone(pid))  # it has noticed
    hurt.refresh_from_db()
    assert hurt.state == JobState.RUNNING and steps() < 250  # nobody knows yet
    automation.tick()
    hurt.refresh_from_db()
    assert hurt.state == JobState.RUNNING
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=settings.STALE_SECONDS + 1))
    automation.tick()
    hurt.refresh_from_db()
    assert hurt.state == JobState.QUEUED

    before = steps()
    second = worker()
    wait_for(lambda: steps() > before + 5)
    pid = process_of(hurt)
    second.send_signal(signal.SIGTERM)
    second.wait(30)
    hurt.refresh_from_db()
    assert hurt.state == JobState.QUEUED and is_gone(pid)  # given back at once

    automation.tick()
    before = steps()
    third = worker()
    wait_for(lambda: steps() > before + 5)
    cancel_run(run=hurt)
    wait_for(lambda: Run.objects.get(pk=hurt.pk).state == JobState.CANCELLED)
    hurt.refresh_from_db()
    assert 5 <= hurt.progress < 250
    assert resume_run(run=hurt)
    wait_for(lambda: Run.objects.get(pk=hurt.pk).state == JobState.DONE)
    whole = start_run(project=project, overrides=QUICK | {"max_steps": 250})
    wait_for(lambda: Run.objects.get(pk=whole.pk).state == JobState.DONE)
    third.send_signal(signal.SIGTERM)
    third.wait(30)

    assert weights(hurt) == weights(whole) != weights(base)
    assert [e.step for e in hurt.events.filter(kind="step")] == list(range(1, 251))
    assert hurt.events.filter(kind="resumed").exists() and hurt.dataset == whole.dataset
