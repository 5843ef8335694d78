"""A run that is killed or stopped anywhere, then resumed, ends with the weights of one that was not."""

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.dpo import checkpoint
from training.dpo.errors import ConfigError, OtherRunError, Stopped, StorageError
from training.dpo.stopping import Stopper

from .conftest import read_events, train
from .test_training import Build, Train, of_kind, same, weights
from .tiny import make_config, make_row, write_rows

# Slows each step down, so that a signal finds the run at work.
SLOW = """
import time
from training.dpo.logprobs import Scorer
real = Scorer.logprobs
Scorer.logprobs = lambda *a: (time.sleep(0.08), real(*a))[1]
"""
# Kills the process by SIGKILL in the middle of writing its third checkpoint, after the weights.
DIE_IN_CHECKPOINT = """
import os, signal
from training.dpo import checkpoint
real, files = checkpoint.write_tensors, []
def write(path, tensors):
    real(path, tensors)
    files.append(path)
    if len(files) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write_tensors = write
"""


def wait_for_step(output: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (output / "events.jsonl").exists() and f'"step": {step}, "steps"' in (output / "events.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached")


def without_times(output: Path) -> list[dict[str, Any]]:
    """The events as one history: no clocks, no memory of a process, and nothing that tells of the interruption itself."""
    clocks = {"time", "tokens_per_s", "memory_bytes", "memory_estimate_bytes", "eta_s", "seconds", "config", "path"}
    return [
        {key: value for key, value in event.items() if key not in clocks}
        for event in read_events(output)
        if event["event"] not in ("resumed", "stopped", "error")
    ]


def assert_equals_unbroken(output: Path, unbroken: Path) -> None:
    assert same(weights(output), weights(unbroken))
    assert without_times(output) == without_times(unbroken)
    assert not list(output.rglob("*.partial")) and not (output / "checkpoint").exists()


@pytest.fixture(scope="module")
def unbroken(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(make_config(tiny_model_dir, tmp_path_factory.mktemp("unbroken"), epochs=3.0, checkpoint_every=3))


def test_sigkill_in_mid_run(config: Build, train_here: Train, trainer_process: Callable, unbroken: Path) -> None:
    settings = config("killed", epochs=3.0, checkpoint_every=3)
    output = Path(settings["output"])
    process = trainer_process(settings, before=SLOW)
    wait_for_step(output, 5)  # in mid-epoch, two steps past the checkpoint
    process.kill()
    process.communicate()
    assert not (output / "model").exists()
    assert_equals_unbroken(train_here(settings), unbroken)
    assert [event["step"] for event in of_kind(output, "resumed")] == [3]


def test_sigkill_while_a_checkpoint_is_written(
    config: Build, train_here: Train, trainer_process: Callable, unbroken: Path
) -> None:
    settings = config("killed", epochs=3.0, checkpoint_every=3)
    output = Path(settings["output"])
    process = trainer_process(settings, before=DIE_IN_CHECKPOINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert {path.name for path in (output / "checkpoint").iterdir()} == {"step-00000003", "step-00000006.partial"}
    assert_equals_unbroken(train_here(settings), unbroken)


def test_sigterm_checkpoints_and_exits_with_3(
    config: Build, train_here: Train, trainer_process: Callable, unbroken: Path
) -> None:
    settings = config("stopped", epochs=3.0, checkpoint_every=3)
    output = Path(settings["output"])
    process = trainer_process(settings, before=SLOW)
    wait_for_step(output, 4)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    stopped = read_events(output)[-1]
    assert (stopped["event"], stopped["reason"]) == ("stopped", "SIGTERM") and stopped["step"] >= 4
    assert "Start the same command again" in said and "Traceback" not in said
    assert [p.name for p in (output / "checkpoint").iterdir()] == [f"step-{stopped['step']:08d}"]
    resumed = trainer_process(settings)
    _, said = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, said
    assert same(weights(output), weights(unbroken))
    assert [e["step"] for e in of_kind(output, "step")] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [e["step"] for e in of_kind(output, "heldout")] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("moment", range(0, 34, 3))
def test_stopped_between_any_two_micro_batches(
    moment: int, config: Build, train_here: Train, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In scoring the reference, in mid-accumulation, in evaluation, in saving."""
    settings = config("stopped", epochs=3.0, checkpoint_every=3)
    calls, real = [], Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        calls.append(step)
        if len(calls) == moment + 1:
            stopper.reason = "SIGTERM"
        real(stopper, step)

    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    assert_same_history(train_here(settings), unbroken)


def assert_same_history(output: Path, unbroken: Path) -> None:
    """As unbroken; but a stop adds a checkpoint of its own."""
    assert same(weights(output), weights(unbroken))
    ours, theirs = ([e for e in without_times(path) if e["event"] != "checkpoint"] for path in (output, unbroken))
    assert ours == theirs


def test_a_full_disk_keeps_the_last_checkpoint(
    config: Build, train_here: Train, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("full", epochs=3.0, checkpoint_every=3)
    output = Path(settings["output"])
    real, calls = checkpoint.write_tensors, []

    def full(path: Path, tensors: dict[str, Any]) -> None:
        calls.append(path)
        if len(calls) > 4:
            path.write_bytes(b"the first part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(StorageError, match=r"checkpoint of step 6 .* No space left on device \(.* GB free there\)"):
        train_here(settings)
    assert [path.name for path in (output / "checkpoint").iterdir()] == ["step-00000003"]
    assert "Free some space" in read_events(output)[-1]["message"]
    monkeypatch.undo()
    assert_equals_unbroken(train_here(settings), unbroken)


def test_a_full_disk_at_the_end_loses_no_training(
    config: Build, train_here: Train, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("full", epochs=3.0, checkpoint_every=3)

    def full(record: dict[str, Any]) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("training.dpo.save.model_card", full)
    with pytest.raises(StorageError, match=r"cannot write the trained model .* No space left"):
        train_here(settings)
    monkeypatch.undo()
    output = train_here(settings)
    assert_equals_unbroken(output, unbroken)
    assert [event["step"] for event in of_kind(output, "resumed")] == [8]


def test_another_config_or_other_data_cannot_resume(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config()
    monkeypatch.setattr("training.dpo.run.save_version", lambda *a: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        train_here(settings)
    events = read_events(Path(settings["output"]))
    with pytest.raises(OtherRunError, match=r"seed: 7 then, 8 now"):
        train_here({**settings, "seed": 8})
    assert read_events(Path(settings["output"])) == events
    write_rows(Path(settings["train"]), [make_row(number) for number in range(9)])
    with pytest.raises(ConfigError, match="the train pairs, the reference or the arithmetic are not what the run began with"):
        train_here(settings)


def test_stop_when_the_parent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    stopper = Stopper()
    stopper.with_parent()
    stopper.check(1)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(Stopped, match="the parent process ended"):
        stopper.check(2)


def test_user_mistakes_give_one_message_and_exit_2(config: Build, trainer_process: Callable, tmp_path: Path) -> None:
    settings = {**config(), "beta": -1, "batch_paris": 3}
    process = trainer_process(settings)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in said
    assert "beta: must be above 0" in said and "batch_paris: unknown key; did you mean batch_pairs?" in said
    assert "batch_paris" in read_events(Path(settings["output"]))[-1]["message"]
    missing = trainer_process({**config("b"), "model": str(tmp_path / "nowhere")})
    _, said = missing.communicate(timeout=60)
    assert missing.returncode == 2 and "nowhere does not exist" in said and "Traceback" not in said


def test_config_written_before_training_can_be_given_again(config: Build, train_here: Train) -> None:
    output = train_here(config())
    train_here(json.loads((output / "config.json").read_text()))


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.STATE])
def test_a_checkpoint_that_cannot_be_read_is_named(
    config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = config(epochs=1.0)
    real = Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if step == 1 else None
        real(stopper, step)

    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    path = next((Path(settings["output"]) / "checkpoint").glob("step-*"))
    os.truncate(path / name, 5)
    with pytest.raises(StorageError, match=r"cannot read the checkpoint .*step-.* Delete it to start over"):
        train_here(settings)
