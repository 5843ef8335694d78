"""Why a job's work stops before it is done; and a worker that is told to end (SIGTERM, Ctrl-C)."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """The worker is to end. What has been stored stays; another worker, or this one after a restart, goes on."""


class WorkFailed(Exception):
    """The work cannot be done. The text is shown to people: why, and what to do next."""


class Interrupted(Exception):
    """The work stops because somebody has cancelled it."""


class Postponed(Exception):
    """Something else goes first. The job goes back into the queue, behind it."""


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Yields a function to call every now and then: it raises Stopped once the worker has been told to end."""
    told = False

    def tell() -> None:
        nonlocal told
        told = True

    def check() -> None:
        if told:
            raise Stopped

    with on_stop_signal(tell):
        yield check


@contextmanager
def on_stop_signal(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGTERM and SIGINT before whatever handled them so far (the worker, which ends after its task)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        action()
        if callable(before[number]):
            before[number](number, frame)
        elif before[number] == signal.SIG_DFL:
            sys.exit(128 + number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
