"""A worker and its trainer: events become rows, exit codes become states, and nobody is left behind."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import builders
from tests.training.test_registry import RECORD, make_run
from training.dpo.errors import Stopped, storage_error
from training.models import Run
from training.models.job import JobState
from training.runs import supervision
from training.runs.supervision import EventFollower, in_words_of_the_page, run_training
from training.versions import registry
from training.worker import jobs

START = {"event": "start", "steps": 4}
STEPS = [{"event": "step", "step": n, "steps": 4, "loss": 0.7 - n / 10} for n in range(1, 5)]
CHECKPOINT = {"event": "checkpoint", "step": 2}


@pytest.fixture
def run(project, var_dir) -> Run:
    return make_run(project, builders.make_version(project, serving=True))


@pytest.fixture
def trainer(run, monkeypatch):
    """Replace the trainer by one that does what it is told."""
    monkeypatch.setattr(supervision, "TRAINER", (sys.executable, str(Path(__file__).with_name("fake_trainer.py"))))
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(supervision, "CANCEL_SECONDS", 0.02)

    def does(*script) -> None:
        (run.path / "script.json").write_text(json.dumps(script))
        run_training(run.pk)
        run.refresh_from_db()

    return does


def lines(run: Run) -> list[tuple[int, str, int | None]]:
    return list(run.events.values_list("line", "kind", "step"))


def process_is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# -- how it ends -------------------------------------------------------------------------------------------


def test_a_run_that_is_done_is_registered_and_serves(run, trainer) -> None:
    trainer(["event", START], *(["event", step] for step in STEPS), ["event", {"event": "done"}], ["exit", 0])
    assert (run.state, run.progress, run.total, run.pid, run.error) == (JobState.DONE, 4, 4, None, "")
    assert registry.serving_version(run.project) == run.version and run.version.serve_dtype == RECORD["serve_dtype"]
    assert [kind for _, kind, _ in lines(run)] == ["start", "step", "step", "step", "step", "done"]
    assert run.events.get(line=2).data["loss"] == 0.6 and "hello from the trainer" in run.log_tail
    assert run.started_at and run.finished_at and run.claim is None


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_shows_what_the_trainer_said(run, trainer, code) -> None:
    trainer(["event", {"event": "error", "message": "train.jsonl line 3: empty. Export again."}], ["exit", code])
    assert (run.state, run.error) == (JobState.FAILED, "train.jsonl line 3: empty. Export again.")
    assert registry.serving_version(run.project) == run.parent


def test_a_failure_without_a_word_points_to_the_log(run, trainer) -> None:
    trainer(["exit", 1])
    assert run.state == JobState.FAILED and "code 1" in run.error and "log" in run.error


def test_an_old_error_is_not_told_again(run, trainer) -> None:
    (run.path / "events.jsonl").write_text(json.dumps({"event": "error", "message": "long ago", "time": 1.0}) + "\n")
    trainer(["exit", 1])
    assert "long ago" not in run.error and len(lines(run)) == 1


def test_a_killed_trainer_can_be_resumed(run, trainer) -> None:
    trainer(["event", START], ["kill", signal.SIGKILL])
    assert run.state == JobState.FAILED and "SIGKILL" in run.error and "resume" in run.error
    assert jobs.queue_again(job=run)
    trainer(["exit", 0])
    assert (run.state, run.error) == (JobState.DONE, "")


def test_a_trainer_that_was_stopped_by_others_is_queued_again(run, trainer) -> None:
    trainer(["event", START], ["event", {"event": "stopped", "step": 0}], ["exit", 3])
    assert (run.state, run.claim, run.cancel_requested) == (JobState.QUEUED, None, False)


def test_cancelling_stops_the_trainer_and_keeps_what_it_did(run, trainer, monkeypatch) -> None:
    look = supervision.Trainer._look_for_cancel

    def cancel_first(self) -> None:
        if run.events.filter(kind="step").exists():
            jobs.request_cancel(job=Run.objects.get(pk=run.pk))
        look(self)

    monkeypatch.setattr(supervision.Trainer, "_look_for_cancel", cancel_first)
    trainer(["event", START], ["event", STEPS[0]], ["until_sigterm", 3])
    assert (run.state, run.progress) == (JobState.CANCELLED, 1)
    assert run.parent == registry.serving_version(run.project)


def test_a_trainer_that_does_not_stop_is_killed(run, trainer, monkeypatch) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 0.2)
    Run.objects.update(cancel_requested=True)
    trainer(["wait", 60])
    assert run.state == JobState.CANCELLED


def test_a_worker_that_lost_the_run_stops_its_trainer(run, trainer, monkeypatch, caplog) -> None:
    monkeypatch.setattr(supervision.settings, "HEARTBEAT_SECONDS", 0.05)
    pids = []

    def steal(self) -> None:
        pids.append(self.process.pid)
        Run.objects.update(claim=None, state=JobState.QUEUED)

    monkeypatch.setattr(supervision.Trainer, "_look_for_cancel", steal)
    trainer(["until_sigterm", 3])
    assert run.state == JobState.QUEUED and "another worker" in caplog.text and process_is_gone(pids[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_gives_the_run_back_at_once(run, trainer, number) -> None:
    """The worker's own handler hears it, too; it may be killed before the trainer has written its checkpoint."""
    heard = []
    before = signal.signal(number, lambda *args: heard.append(args[0]))
    timer = threading.Timer(0.6, lambda: os.kill(os.getpid(), number))
    timer.start()
    try:
        trainer(["event", START], ["until_sigterm", 3])
        assert heard == [number] and signal.getsignal(number) != before
    finally:
        timer.cancel()
        signal.signal(number, before)
    assert (run.state, run.claim) == (JobState.QUEUED, None)


def test_an_error_of_our_own_fails_the_run_with_words(run, trainer, monkeypatch) -> None:
    def full(run):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervision, "config_of", full)
    trainer(["exit", 0])
    assert run.state == JobState.FAILED and "No space left on device" in run.error


def test_a_config_that_cannot_be_read_is_told_in_its_own_words(run, trainer) -> None:
    (run.path / "config.json").write_text("{")
    trainer()
    assert run.state == JobState.FAILED and "config.json is not JSON" in run.error and ".." not in run.error


def test_a_run_that_is_not_queued_is_left_alone(run, trainer) -> None:
    Run.objects.update(state=JobState.CANCELLED)
    trainer(["exit", 0])
    assert run.state == JobState.CANCELLED and not (run.path / "asked.json").exists()


# -- events ------------------------------------------------------------------------------------------------


@pytest.fixture
def follower(run) -> EventFollower:
    return EventFollower(jobs.claim(kind=Run, pk=run.pk))


def append(run: Run, *events: dict) -> None:
    with (run.path / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def rewrite(run: Run, *events: dict) -> None:
    partial = run.path / "partial"
    partial.write_text("".join(json.dumps(event) + "\n" for event in events))
    partial.replace(run.path / "events.jsonl")


def test_each_line_becomes_one_row(run, follower) -> None:
    follower.read_new()  # before there is a file
    append(run, START, STEPS[0])
    follower.read_new()
    follower.read_new()
    append(run, STEPS[1])
    follower.read_new()
    assert lines(run) == [(1, "start", None), (2, "step", 1), (3, "step", 2)]
    run.refresh_from_db()
    assert (run.progress, run.total) == (2, 4)


def test_half_a_line_waits_for_its_end(run, follower) -> None:
    append(run, START)
    whole = json.dumps(STEPS[0])
    with (run.path / "events.jsonl").open("a") as file:
        file.write(whole[:10])
        file.flush()
        follower.read_new()
        assert len(lines(run)) == 1
        file.write(whole[10:] + "\n")
    follower.read_new()
    assert lines(run) == [(1, "start", None), (2, "step", 1)]


def test_a_broken_line_is_passed_over(run, follower) -> None:
    append(run, START)
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "st{"event": "x"}\n[1]\n')
    append(run, STEPS[0])
    follower.read_new()
    assert lines(run) == [(1, "start", None), (4, "step", 1)]


def test_another_worker_goes_on_where_the_first_was_killed(run, follower) -> None:
    append(run, START, STEPS[0])
    follower.read_new()
    append(run, STEPS[1])
    EventFollower(follower.run).read_new()
    assert lines(run) == [(1, "start", None), (2, "step", 1), (3, "step", 2)]


def test_when_the_file_was_rewritten_rows_beyond_are_replaced(run, follower) -> None:
    append(run, START, STEPS[0], CHECKPOINT, *STEPS[1:])
    follower.read_new()
    kept = list(run.events.values_list("pk", flat=True)[:3])
    rewrite(run, START, STEPS[0], CHECKPOINT, {"event": "resumed", "step": 2, "steps": 4})
    follower.read_new()
    assert lines(run) == [(1, "start", None), (2, "step", 1), (3, "checkpoint", 2), (4, "resumed", 2)]
    assert list(run.events.values_list("pk", flat=True)[:3]) == kept
    run.refresh_from_db()
    assert run.progress == 2
    append(run, STEPS[2])
    follower.read_new()
    assert lines(run)[-1] == (5, "step", 3)


def test_events_of_a_lost_run_are_not_written(run, follower) -> None:
    Run.objects.update(claim=None, state=JobState.QUEUED)
    append(run, START)
    with pytest.raises(jobs.LostClaim):
        follower.read_new()
    assert lines(run) == []


def test_following_is_cheap_when_nothing_is_new(run, follower, django_assert_num_queries) -> None:
    append(run, START)
    follower.read_new()
    with django_assert_num_queries(0):
        follower.read_new()
    assert time.time() - follower.begun_at < 60


@pytest.mark.parametrize(
    "error",
    [Stopped("SIGTERM", 5), storage_error("an event", Path("events.jsonl"), OSError(28, "No space left on device"))],
)
def test_the_page_names_its_button_not_a_command(error) -> None:
    words = in_words_of_the_page(str(error))
    assert "same command" in str(error) and "same command" not in words and "Resume" in words
