"""Stopping on request: SIGTERM, SIGINT, or the end of the parent process. Nothing here imports torch."""

import os
import signal
from collections.abc import Callable
from types import FrameType

from training.dpo.errors import Stopped

PARENT_ENDED = "the parent process ended"
REASONS = (PARENT_ENDED, "SIGINT", "SIGTERM")


class Stopper:
    """Remembers that a stop was asked for; the run looks between micro-batches. A second Ctrl-C kills at once."""

    def __init__(self, parent: int | None = None) -> None:
        self.reason: str | None = None
        self.parent = parent  # process id that must stay our parent, None: any
        self.agree: Callable[[str | None], str | None] = lambda reason: reason  # with other processes, if there are any

    def listen(self) -> "Stopper":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        return self

    def with_parent(self) -> None:
        """From now on the end of the present parent process is a reason to stop."""
        self.parent = os.getppid()

    def check(self, step: int) -> None:
        """Raise Stopped when a stop was asked for. Of several processes, all must call it at the same places."""
        if self.reason is None and self.parent is not None and os.getppid() != self.parent:
            self.reason = PARENT_ENDED
        self.reason = self.agree(self.reason)
        if self.reason is not None:
            raise Stopped(self.reason, step)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.SIG_DFL)
