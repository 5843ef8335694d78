"""The tick: starts what is due, once, and nothing else."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from tests import builders
from tests.training.test_registry import make_run
from training import tasks
from training.clock import automation
from training.clock.automation import tick
from training.models import Generation, Version
from training.models.job import JobState
from training.versions import registry
from training.worker import jobs


@pytest.fixture
def serving(project):
    builders.make_prompt(project)
    return builders.make_version(project, serving=True, metrics={"described_at": "today"})


def tasks_of(task, status=TaskResultStatus.READY) -> list[int]:
    found = DBTaskResult.objects.filter(task_path=task.module_path, status=status)
    return sorted(result.args_kwargs["args"][0] for result in found)


def end(generation: Generation, state: str, **fields) -> None:
    Generation.objects.filter(pk=generation.pk).update(state=state, finished_at=timezone.now(), **fields)


def test_a_low_queue_starts_one_generation(project, serving) -> None:
    for _ in range(3):
        tick()
    generation = Generation.objects.get()
    assert generation.version == serving and tasks_of(tasks.generate) == [generation.pk]


def test_a_queue_that_is_not_low_starts_none(project, serving) -> None:
    project.queue_low = 2
    project.save()
    pairs = [builders.make_comparison(project) for _ in range(2)]
    tick()
    assert not Generation.objects.exists()
    type(pairs[0]).objects.filter(pk=pairs[0].pk).update(free_places=0)
    tick()
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("lacking", ["version", "prompts"])
def test_without_a_version_or_prompts_there_is_nothing_to_generate(project, lacking) -> None:
    if lacking == "version":
        builders.make_prompt(project)
    else:
        builders.make_version(project, serving=True, metrics={"described_at": "today"})
    tick()
    assert not Generation.objects.exists()


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.DONE])
def test_one_that_ended_in_vain_is_not_repeated_at_once(serving, state) -> None:
    tick()
    end(Generation.objects.get(), state, **SAMPLED)
    tick()
    assert Generation.objects.count() == 1
    Generation.objects.update(finished_at=timezone.now() - automation.RETRY_GENERATION_AFTER - timedelta(seconds=1))
    tick()
    assert Generation.objects.count() == 2


SAMPLED = {"dropped_identical": 9, "total": 9}


@pytest.mark.parametrize(
    ("outcome", "pauses"),
    [
        ({"state": JobState.FAILED}, (30, 60, 120, 240, 300, 300)),
        ({"state": JobState.FAILED, **SAMPLED}, (300, 600, 1200, 2400, 4800, 4800)),
        ({"state": JobState.DONE, **SAMPLED}, (300, 600, 1200, 2400, 4800, 4800)),
    ],
    ids=["it could not begin", "it sampled and failed", "it sampled in vain"],
)
def test_what_is_in_vain_again_and_again_is_tried_less_and_less_often(project, serving, outcome, pauses) -> None:
    def newest_ended(seconds: float) -> None:
        newest = Generation.objects.filter(pk=Generation.objects.latest("pk").pk)
        newest.update(finished_at=timezone.now() - timedelta(seconds=seconds), **outcome)

    for tries, seconds in enumerate(pauses, start=1):
        tick()
        assert Generation.objects.count() == tries
        newest_ended(seconds - 5)
        tick()
        assert Generation.objects.count() == tries
        newest_ended(seconds + 1)
    newest_ended(0)
    builders.make_prompt(project)
    tick()
    assert Generation.objects.count() == tries + 1


def test_a_model_that_was_put_back_is_tried_as_soon_as_its_files_have_settled(serving, var_dir, monkeypatch) -> None:
    tick()
    end(Generation.objects.get(), JobState.FAILED)
    aside = var_dir / "aside"
    aside.mkdir()
    (aside / "config.json").touch()
    tick()
    assert Generation.objects.count() == 1  # its files are still missing
    aside.rename(serving.path)
    tick()
    assert Generation.objects.count() == 1  # more may be on their way
    monkeypatch.setattr(automation, "SETTLED_AFTER", timedelta(0))
    tick()
    end(Generation.objects.latest("pk"), JobState.FAILED)
    tick()
    assert Generation.objects.count() == 2  # once for each change


def test_another_version_is_tried_at_once(project, serving) -> None:
    tick()
    end(Generation.objects.get(), JobState.FAILED, total=9)
    registry.promote(version=builders.make_version(project, metrics={"described_at": "today"}))
    tick()
    assert Generation.objects.count() == 2


def test_one_that_filled_the_queue_is_followed_when_it_is_low_again(serving) -> None:
    tick()
    end(Generation.objects.get(), JobState.DONE, total=9, progress=9)
    tick()
    assert Generation.objects.count() == 2


def test_a_stale_job_is_taken_up_again(project, serving, var_dir) -> None:
    run = make_run(project, serving)
    jobs.claim(kind=type(run), pk=run.pk)
    type(run).objects.update(heartbeat_at=timezone.now() - timedelta(seconds=settings.STALE_SECONDS + 1))
    tick()
    run.refresh_from_db()
    assert run.state == JobState.QUEUED and tasks_of(tasks.train) == [run.pk]


def test_a_queued_job_gets_one_task_and_another_when_that_was_lost(project, serving, var_dir) -> None:
    run = make_run(project, serving)
    for _ in range(3):
        tick()
    assert tasks_of(tasks.train) == [run.pk]
    running = DBTaskResult.objects.get(task_path=tasks.train.module_path)
    running.claim("worker")  # it has taken the task, and may claim the run in a moment
    tick()
    assert tasks_of(tasks.train) == []
    DBTaskResult.objects.filter(pk=running.pk).update(started_at=timezone.now() - timedelta(minutes=1))  # it was killed
    tick()
    assert tasks_of(tasks.train) == [run.pk]


def test_versions_are_described_once_and_given_up_after_some_failures(project) -> None:
    version = builders.make_version(project)
    for _ in range(2 * automation.DESCRIBE_TRIES):
        tick()
        assert len(tasks_of(tasks.describe_version)) <= 1
        DBTaskResult.objects.update(status=TaskResultStatus.FAILED, finished_at=timezone.now())
    assert tasks_of(tasks.describe_version, TaskResultStatus.FAILED) == [version.pk] * automation.DESCRIBE_TRIES
    assert automation.description_is_given_up(version)
    DBTaskResult.objects.filter(pk=DBTaskResult.objects.first().pk).update(
        status=TaskResultStatus.RUNNING, started_at=timezone.now()
    )
    assert not automation.description_is_given_up(version)


def in_turn() -> list[str]:
    return [task.task_path.rpartition(".")[2] for task in DBTaskResult.objects.ready()]


def test_pairs_that_annotators_wait_for_are_written_before_anything_but_a_run(project, serving, var_dir) -> None:
    serving.metrics = {}
    serving.save()
    run = make_run(project, serving, state=JobState.DONE)
    builders.make_version(project, parent=serving, run=run)
    for task in (tasks.evaluate, tasks.answer_inquiry, tasks.score_comparisons):
        task.enqueue(0)
    tick()
    others = ["describe_version", "answer_inquiry", "evaluate", "score_comparisons", "describe_version"]
    assert in_turn() == ["generate", *others]
    assert tasks.train.priority > tasks.QUEUE_IS_LOW


def test_one_that_was_put_back_waits_while_the_queue_is_full_enough_and_then_goes_first(project, serving, var_dir) -> None:
    project.queue_low = 1
    project.save()
    run = make_run(project, serving, state=JobState.DONE)
    builders.make_version(project, parent=serving, run=run)
    Generation.objects.create(project=project, version=serving)  # its task was lost
    pair = builders.make_comparison(project)
    tick()
    assert in_turn() == ["describe_version", "generate"]
    type(pair).objects.filter(pk=pair.pk).update(free_places=0)
    tick()
    assert in_turn() == ["generate", "describe_version"]


def test_a_version_whose_files_were_put_back_is_described_after_all(project, var_dir) -> None:
    version = builders.make_version(project)
    for _ in range(automation.DESCRIBE_TRIES + 1):
        tick()
        DBTaskResult.objects.update(status=TaskResultStatus.FAILED, finished_at=timezone.now())
    assert tasks_of(tasks.describe_version) == []
    version.path.mkdir()
    tick()
    assert tasks_of(tasks.describe_version) == [version.pk]


def test_descriptions_that_were_stopped_with_their_worker_are_asked_for_again(project) -> None:
    version = builders.make_version(project)
    for _ in range(2 * automation.DESCRIBE_TRIES):
        tick()
        assert tasks_of(tasks.describe_version) == [version.pk]
        DBTaskResult.objects.update(status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now())


def test_a_description_whose_worker_was_killed_is_asked_for_again_within_a_minute(project) -> None:
    """One that is long at it, and shows it, is left alone however long it takes."""
    version = builders.make_version(project)
    tick()
    now, long_ago = timezone.now(), timezone.now() - timedelta(minutes=30)
    DBTaskResult.objects.update(status=TaskResultStatus.RUNNING, started_at=long_ago)
    Version.objects.update(describing_at=now - timedelta(seconds=5))
    tick()
    assert tasks_of(tasks.describe_version) == [] and not automation.description_is_given_up(version)
    Version.objects.update(describing_at=now - timedelta(seconds=settings.STALE_SECONDS + 5))
    tick()
    assert tasks_of(tasks.describe_version) == [version.pk]


def test_old_tasks_are_pruned(project) -> None:
    for status, age in (("SUCCESSFUL", 2), ("FAILED", 2), ("SUCCESSFUL", 0), ("RUNNING", 2)):
        task = tasks.train.enqueue(1)
        when = timezone.now() - timedelta(days=age)
        DBTaskResult.objects.filter(pk=task.id).update(status=status, finished_at=when, started_at=when)
    automation.prune_tasks()
    assert sorted(DBTaskResult.objects.values_list("status", flat=True)) == ["RUNNING", "SUCCESSFUL"]


@pytest.mark.django_db(transaction=True)
def test_a_part_that_fails_does_not_stop_the_others(serving, monkeypatch, caplog) -> None:
    def locked():
        raise OperationalError("database is locked")

    monkeypatch.setattr(automation, "take_up_stale_jobs", locked)
    tick()
    assert Generation.objects.count() == 1 and "database is locked" in caplog.text


def test_the_clock_looks_once_when_asked(serving) -> None:
    call_command("automate", once=True)
    assert Generation.objects.count() == 1


def test_the_clock_ends_cleanly_when_it_is_told_to(tmp_path) -> None:
    """As its own process, without a database: it logs that, goes on, and ends at SIGTERM with code 0."""
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'none.sqlite3'}", "VAR_DIR": str(tmp_path)}
    command = [sys.executable, "manage.py", "automate", "--interval", "0.1", "--skip-checks"]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stderr=subprocess.PIPE, text=True) as clock:
        for line in clock.stderr:
            if "no such table" in line:
                break
        clock.send_signal(signal.SIGTERM)
        clock.stderr.read()
    assert clock.returncode == 0
