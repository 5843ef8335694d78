"""The run's only channel to the outside: one JSON object a line in events.jsonl, each flushed as it is written."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.dpo.errors import storage_error
from training.dpo.storage import write_text

Event = dict[str, Any]


class EventLog:
    """Appends events to a file and hands each to `show` (the terminal)."""

    def __init__(self, path: Path, show: Callable[[Event], None] = lambda event: None, silent: bool = False) -> None:
        self.path = path
        self.show = show
        self.silent = silent  # of several processes, all but one

    def write(self, event: str, **fields: Any) -> None:
        """Append one event. Raises StorageError when the disk is full. Numbers that are not finite become null."""
        if self.silent:
            return
        record = {"event": event, "time": round(time.time(), 3), **_finite(fields)}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False, default=str, allow_nan=False) + "\n")
        except OSError as error:
            raise storage_error("an event", self.path, error) from error
        self.show(record)

    def read(self) -> list[Event]:
        """All whole events; a last line that a killed process left half-written is skipped."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events

    def restart(self) -> None:
        """Begin an empty history."""
        self._replace([])

    def mend(self) -> None:
        """Drop a last line that a killed process left half-written."""
        self._replace(self.read())

    def rewind(self, step: int, last: dict[str, int]) -> None:
        """Drop what came after the checkpoint of `step` and will happen again, so that the file tells one history.

        `last`: of held-out evaluations and samples, the last step whose event the checkpoint knows of.
        """
        events = [event for event in self.read() if event.get("step", 0) <= last.get(event["event"], step)]
        self._replace(events)
        if not any(event["event"] == "checkpoint" and event["step"] == step for event in events):
            self.write("checkpoint", step=step)  # the run was killed between the checkpoint and its event

    def _replace(self, events: list[Event]) -> None:
        if self.silent:
            return
        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        write_text(self.path, text, "the events")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
