"""Writing so that a reader, or a run after a crash, sees the old file or the new one and never half of either."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from training.dpo.errors import ModelError, OutputBusyError, storage_error

PARTIAL = ".partial"
LOCK_WAIT_S = 60.0


def write_file(path: Path, write: Callable[[Path], None], what: str) -> None:
    """Call `write` with a temporary path, flush it to disk, and move it to `path` in one step.

    Raises StorageError (the old file is then untouched and the temporary one removed).
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise storage_error(what, path, error) from error


def write_directory(path: Path, fill: Callable[[Path], None], what: str) -> None:
    """As `write_file`, for a directory that `fill` fills. `path` must not exist; StorageError if it cannot be written."""
    partial = partial_of(path)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        for file in [*partial.rglob("*"), partial]:
            _flush(file)
        os.rename(partial, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise storage_error(what, path, error) from error


def partial_of(path: Path) -> Path:
    """Where `write_directory` fills what becomes `path`."""
    return path.with_name(f"{path.name}{PARTIAL}")


def write_text(path: Path, text: str, what: str) -> None:
    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_file(path, write, what)


def write_json(path: Path, value: Any, what: str) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    write_text(path, text, what)


def remove_partials(directory: Path) -> None:
    """Clear what a killed run left half-written."""
    for leftover in directory.glob(f"*{PARTIAL}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock file `path`. Raises OutputBusyError when another process still holds it after `wait_s` seconds."""
    wait_s = LOCK_WAIT_S if wait_s is None else wait_s
    deadline = time.monotonic() + wait_s
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise OutputBusyError(
                        f"another trainer is at work in {path.parent} (waited {wait_s:.0f} s). "
                        "Wait for it, stop it, or choose another output."
                    ) from None
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
        yield


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_model_directory(directory: Path) -> None:
    """Raises ModelError, before anything slow is imported, when there is no transformers model in `directory`."""
    if not (directory / "config.json").is_file():
        what = "has no config.json" if directory.is_dir() else "does not exist"
        raise ModelError(f"the model directory {directory} {what}. Give a directory that holds a transformers model.")
