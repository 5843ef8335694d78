"""A worker's part in a run: start the trainer's process, follow its events, end it when it must end.

The trainer (`python -m training.dpo`) speaks through files and its exit code; it hears SIGTERM. It has a process group
of its own, so that a Ctrl-C on the worker's terminal reaches it as our SIGTERM. When this worker is killed it notices,
writes a checkpoint and ends; a lock of its own keeps two trainers out of one directory.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from training.dpo.errors import EXIT_DONE, EXIT_STOPPED, TrainerError
from training.models import Run, RunEvent
from training.runs.curve_files import TENSORBOARD, write_tensorboard
from training.runs.ordering import NothingToTrainOn, config_of, take_dataset
from training.versions.registry import register_run
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through
from training.worker.stopping import Interrupted, Postponed, WorkFailed, on_stop_signal, stoppable

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # how often the events file and the process are looked at
CANCEL_SECONDS = 1.0  # … and whether somebody has cancelled
STOP_SECONDS = 300  # what a trainer may take to write its checkpoint before it is killed
FELLOW_SECONDS = 20  # what another process of the same run may take to end after the first
TAIL_LINES, TAIL_BYTES = 40, 16_000
TRAINER = (sys.executable, "-m", "training.dpo")


def run_training(run_id: int) -> None:
    """The task: claim the run and see it through. Does nothing if it is not queued."""

    def work(run: Run) -> None:
        if sampling := sys.modules.get("training.generation.sampling"):
            sampling.forget_policies()  # the trainer needs the memory
        try:
            if run.dataset is None:
                _take_dataset(run)
            supervise(run)
        except (OperationalError, InterfaceError) as error:  # not the run's fault: again, when the database is there
            logger.exception("%s of %s was interrupted", run, run.project.slug)
            raise Postponed from error
        except (TrainerError, NothingToTrainOn) as error:  # it says itself what next
            raise WorkFailed(str(error)) from error

    see_through(kind=Run, pk=run_id, work=work, advice="Correct that, then resume the run.")


def _take_dataset(run: Run) -> None:
    """Raises NothingToTrainOn, Interrupted, Stopped, LostClaim."""
    with stoppable() as check:
        dataset = take_dataset(run=run, pulse=Pulse(run, check))
    if jobs.heartbeat(job=run, dataset=dataset):
        raise Interrupted


def supervise(run: Run) -> None:
    """From a claimed run to its end: done and registered, cancelled, failed, or queued again. Raises LostClaim."""
    trainer = Trainer(run)
    with on_stop_signal(trainer.stop_for_worker):
        try:
            trainer.start()
            code = trainer.follow()
        except Exception:
            trainer.end(wait=True)
            raise
        except BaseException:  # a second Ctrl-C: at once
            trainer.end(wait=False)
            raise
    if not trainer.released:
        _conclude(run, trainer, code)


def _conclude(run: Run, trainer: "Trainer", code: int) -> None:
    left = {"log_tail": trainer.log_tail(), "pid": None}
    if code == EXIT_DONE:
        write_tensorboard(run=run, directory=run.path / "model" / TENSORBOARD)
        register_run(run=run)
        jobs.finish(job=run, progress=run.total, **left)
    elif run.cancel_requested:
        jobs.cancelled(job=run, **left)
    elif code == EXIT_STOPPED:
        jobs.release(job=run, **left)
    else:
        jobs.fail(job=run, error=trainer.explain(code), **left)


class Trainer:
    """The process of one run, and what is known of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.process: subprocess.Popen | None = None  # the first, which writes and whose end is the run's
        self.fellows: list[subprocess.Popen] = []  # the others, where several train together
        self.events = EventFollower(run)
        self.worker_stops = False
        self.released = False  # given back, because the worker stops
        self.told_to_stop_at: float | None = None

    def start(self) -> None:
        directory = self.run.path
        directory.mkdir(parents=True, exist_ok=True)
        asked = directory / "asked.json"
        partial = asked.with_suffix(".partial")
        partial.write_text(json.dumps(config_of(self.run), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(asked)
        places = _places(self.run.processes)
        self.process, *self.fellows = [self._start_process(asked, place, number) for number, place in enumerate(places)]
        jobs.heartbeat(job=self.run, pid=self.process.pid)

    def _start_process(self, asked: Path, place: dict[str, str], number: int) -> subprocess.Popen:
        name = f"trainer-{number}.log" if number else "trainer.log"
        with (self.run.path / name).open("ab") as log:
            return subprocess.Popen(
                [*TRAINER, str(asked)],
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **place},
            )

    def follow(self) -> int:
        """Until the process ends; its exit code. Raises LostClaim."""
        looked = beaten = 0.0
        while True:
            code = self.process.poll()  # before the events are read: all that were written are then read
            if self.worker_stops and not self.released:
                self._release()
            if code is not None:
                if not self.released:
                    self.events.read_new()
                self._see_fellows_off()
                return code
            now = time.monotonic()
            if not self.released:
                with _database_may_be_away():
                    self.events.read_new()
                    if now - looked >= CANCEL_SECONDS:
                        looked = now
                        self._look_for_cancel()
                    if now - beaten >= settings.HEARTBEAT_SECONDS:
                        beaten = now
                        jobs.heartbeat(job=self.run, log_tail=self.log_tail())
            self._lose_patience()
            time.sleep(LOOK_SECONDS)

    def _look_for_cancel(self) -> None:
        self.run.cancel_requested = Run.objects.values_list("cancel_requested", flat=True).get(pk=self.run.pk)
        if self.run.cancel_requested:
            self.terminate()

    def terminate(self) -> None:
        if self.process and self.told_to_stop_at is None:
            self.told_to_stop_at = time.monotonic()
            self._signal(signal.SIGTERM)

    def _lose_patience(self) -> None:
        if self.told_to_stop_at is not None and time.monotonic() - self.told_to_stop_at > STOP_SECONDS:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for process in (self.process, *self.fellows):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)

    def _see_fellows_off(self) -> None:
        """They end by themselves once the first has; one that hangs is killed."""
        deadline = time.monotonic() + FELLOW_SECONDS
        for fellow in self.fellows:
            try:
                fellow.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(fellow.pid, signal.SIGKILL)
                fellow.wait()

    def stop_for_worker(self) -> None:
        """Called in a signal's handler, so it only tells the trainer and `follow`."""
        self.worker_stops = True
        self.terminate()

    def _release(self) -> None:
        """Give the run back before the checkpoint is written, for the worker may be killed before that. Whoever takes
        the run up waits for the trainer's lock."""
        self.released = True
        jobs.release(job=self.run, log_tail=self.log_tail(), pid=None)

    def end(self, wait: bool) -> None:
        """Leave no process behind that does not know it must end."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            return self._see_fellows_off()
        self.terminate()
        if wait:
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
            self._see_fellows_off()

    def log_tail(self) -> str:
        try:
            with (self.run.path / "trainer.log").open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - TAIL_BYTES))
                text = log.read().decode("utf-8", "replace").replace("\0", "")
        except OSError:
            return ""
        # A progress bar overwrites its line: what was seen last counts.
        lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
        return in_words_of_the_page("\n".join(lines[-TAIL_LINES:]).strip("\n"))

    def explain(self, code: int) -> str:
        """Why the process ended, in words."""
        if code < 0:
            return (
                f"The trainer was killed ({signal.Signals(-code).name}), most often because memory ran out. "
                "Nothing that was saved is lost: resume the run, if need be with a smaller micro_batch_tokens."
            )
        error = self.events.last_error
        if error:
            return in_words_of_the_page(error)
        return f"The trainer ended with code {code} and said no more than its log shows. Correct that, then resume the run."


def in_words_of_the_page(text: str) -> str:
    """On a terminal the same command goes on with a run; here it is a button."""
    text = text.replace("Start the same command again to go on.", "Resume goes on from here.")
    text = text.replace("start the same command again", "press Resume")
    return text.replace("Started again, the same command goes on", "Resumed, it goes on")


def _places(processes: int) -> list[dict[str, str]]:
    """What each process is told by torchrun's variables; one alone is told nothing."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))
    shared = {
        "OMP_NUM_THREADS": threads,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    return [{**shared, "RANK": str(number), "LOCAL_RANK": str(number)} for number in range(processes)]


class EventFollower:
    """Copies events.jsonl into RunEvent rows: each line once, and again from where a resumed trainer rewrote the file."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.path: Path = run.path / "events.jsonl"
        self.inode = -1
        self.offset = 0  # of the file, up to which the rows hold it
        self.line = 0
        self.begun_at = time.time()
        self.last_error = ""  # of this start of the trainer

    def read_new(self) -> None:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                rewritten = status.st_ino != self.inode or status.st_size < self.offset
                offset, line = (0, 0) if rewritten else (self.offset, self.line)
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        if not whole and not rewritten:
            return
        lines = whole.split(b"\n")[:-1]
        events = {line + place: _parse(raw) for place, raw in enumerate(lines, start=1)}
        self._store({number: event for number, event in events.items() if event}, rewritten)
        self.inode, self.offset, self.line = status.st_ino, offset + len(whole), line + len(lines)

    @transaction.atomic
    def _store(self, events: dict[int, dict[str, Any]], rewritten: bool) -> None:
        if not events and not rewritten:
            return
        jobs.heartbeat(job=self.run, **_progress(events))  # first: after a lost claim nothing is written
        if rewritten:
            events = self._without_known(events)
        for event in events.values():
            if event["event"] == "error" and event.get("time", 0) >= self.begun_at - 1:
                self.last_error = str(event.get("message", ""))
        RunEvent.objects.bulk_create(
            RunEvent(run=self.run, line=number, kind=str(event["event"])[:20], step=_step(event), data=event)
            for number, event in events.items()
        )

    def _without_known(self, events: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Keep the rows up to the first that differs from the file; of the events, what comes after."""
        rows = dict(self.run.events.values_list("line", "data"))
        differing = [number for number in sorted(rows.keys() | events.keys()) if rows.get(number) != events.get(number)]
        if not differing:
            return {}
        self.run.events.filter(line__gte=differing[0]).delete()
        return {number: event for number, event in events.items() if number >= differing[0]}


def _parse(raw: bytes) -> dict[str, Any] | None:
    """The event of a line; None for one that a killed trainer left half-written."""
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _step(event: dict[str, Any]) -> int | None:
    step = event.get("step")
    return step if isinstance(step, int) and step >= 0 else None


def _progress(events: dict[int, dict[str, Any]]) -> dict[str, int]:
    """`progress` and `total` of the run, from the last events that tell them."""
    found: dict[str, int] = {}
    for event in events.values():
        if event["event"] in ("start", "step", "resumed"):
            found["progress"] = event.get("step") or 0
            if event.get("steps"):
                found["total"] = event["steps"]
    return found


@contextmanager
def _database_may_be_away() -> Iterator[None]:
    """Locked or unreachable: training goes on, and what was not written is written at the next look."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if connection.in_atomic_block:
            raise
        logger.warning("the database does not answer (%s); trying again", error)
        connection.close_if_unusable_or_obsolete()
