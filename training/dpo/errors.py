"""Everything that ends a run early, each with the exit code of the process."""

import errno
import os
import shutil
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 3


class TrainerError(Exception):
    """A run cannot go on. The message says what, where and what next."""

    exit_code = EXIT_FAILURE
    known_to_first = False  # of several processes, the first one tells it


class ConfigError(TrainerError):
    """The config is wrong; all its faults are in one message."""

    exit_code = EXIT_BAD_INPUT


class OtherRunError(ConfigError):
    """The output directory belongs to a run with another config, whose events must not be touched."""


class DataError(TrainerError):
    """The triples are wrong; all bad rows are in one message."""

    exit_code = EXIT_BAD_INPUT


class ModelError(TrainerError):
    """A model directory cannot be trained or used as the reference."""

    exit_code = EXIT_BAD_INPUT


class PreflightError(TrainerError):
    """A check before step 1 failed; nothing was trained."""

    exit_code = EXIT_BAD_INPUT


class OutputBusyError(TrainerError):
    """Another trainer holds the output directory. Nothing may be written there."""

    exit_code = EXIT_BAD_INPUT


class NonFiniteError(TrainerError):
    """Loss or gradient is NaN or infinite; the rows are named, the last good checkpoint stays."""


class OutOfMemory(TrainerError):
    """One of several processes ran out of memory. The next start goes on with the token budget halved `halvings` times."""

    def __init__(self, message: str, halvings: int) -> None:
        super().__init__(message)
        self.halvings = halvings


class OtherProcessError(TrainerError):
    """Another process of this run failed; its words, its exit code, and what it knows of the memory."""

    def __init__(self, message: str, code: int, rank: int, halvings: int | None = None) -> None:
        super().__init__(f"process {rank}: {message}")
        self.exit_code = code
        self.halvings = halvings


class StorageError(TrainerError):
    """A file could not be written. What was complete before is still complete."""


class Stopped(TrainerError):
    """A signal (or the end of the parent process) asked the run to stop; it can be resumed."""

    exit_code = EXIT_STOPPED

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(f"stopped at step {step}: {reason}. Start the same command again to go on.")
        self.reason = reason
        self.step = step


def storage_error(what: str, where: Path, error: Exception) -> StorageError:
    """Say what could not be written, with the free space left, for an OSError or a safetensors error."""
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    reason = os.strerror(errno.ENOSPC) if full else str(error)
    home = next(p for p in (where, *where.parents) if p.exists())
    free = shutil.disk_usage(home).free / 1e9
    return StorageError(
        f"cannot write {what} to {where}: {reason} ({free:.1f} GB free there). "
        "What was saved before is intact. Free some space or fix the directory, then start the same command again."
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether a GPU, or the connection to other ones, has stopped working: nothing can be computed in this process any more."""
    text = str(error)
    return type(error).__name__ == "AcceleratorError" or (
        isinstance(error, RuntimeError) and any(word in text for word in ("CUDA error", "CUDA driver", "NCCL", "HIP error"))
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on any device."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "not enough memory" in text)
        or (isinstance(error, RuntimeError) and "can't allocate memory" in text)
    )
