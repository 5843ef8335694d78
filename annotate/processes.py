"""Processes side by side in one terminal, which end together: what `manage.py serve` makes of the Procfile.

Each leads a process group of its own and is on a leash: a pipe whose other end only we hold. When we are gone, be it by
kill -9, the pipe closes and the group ends by itself; nothing is left that would keep the port.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

LOOK_SECONDS = 0.1
STOP_SECONDS = 5  # between being asked to end and being killed
COLOURS = (36, 33, 32, 35, 34)
# A shell gives what it runs in the background no input, hence the detour by descriptor 3.
LEASH = (
    "exec 3<&0 </dev/null\n"
    f"(read -r _ <&3; trap '' TERM; kill -TERM 0; sleep {STOP_SECONDS}; kill -KILL 0) >/dev/null 2>&1 &\n"
    "exec 3<&-\n"
)


def read_procfile(path: Path) -> dict[str, str]:
    """Name → shell command, one `name: command` a line."""
    return dict(re.findall(r"^([\w-]+):[ \t]*(.+)$", path.read_text(), re.MULTILINE))


class Processes:
    """`Processes(commands, …).run()` starts all and returns when all have ended."""

    def __init__(self, commands: dict[str, str], *, directory: Path, environment: dict[str, str]) -> None:
        self.commands = commands
        self.directory = directory
        self.environment = environment
        self.told_to_stop = False

    def run(self) -> int:
        """Until the first one ends, or SIGINT, SIGTERM or SIGHUP comes. 0 after a signal, else that first one's code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._tell_to_stop)
        started = [self._start(name) for name in self.commands]
        relays = [self._relay(name, process.stdout) for name, process in zip(self.commands, started, strict=True)]
        while not self.told_to_stop and all(relay.is_alive() for relay in relays):
            time.sleep(LOOK_SECONDS)
        ended = [process for process, relay in zip(started, relays, strict=True) if not relay.is_alive()]
        code = 0 if self.told_to_stop else ended[0].wait()
        self._say("stop", "stopping …")
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in started:
                with suppress(ProcessLookupError, PermissionError):  # macOS: all that is left of it is a zombie
                    os.killpg(process.pid, number)
            end = time.monotonic() + STOP_SECONDS
            for relay in relays:
                relay.join(max(0, end - time.monotonic()))
            if not any(relay.is_alive() for relay in relays):
                break
        return code if code >= 0 else 128 - code

    def _tell_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.told_to_stop = True

    def _start(self, name: str) -> subprocess.Popen:
        return subprocess.Popen(
            LEASH + self.commands[name],
            shell=True,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _relay(self, name: str, output: IO[bytes]) -> threading.Thread:
        """A thread that copies lines to the terminal and ends when nobody is left who could write one."""

        def copy() -> None:
            for line in output:
                self._say(name, line.decode("utf-8", "replace").rstrip())

        thread = threading.Thread(target=copy, name=name, daemon=True)
        thread.start()
        return thread

    def _say(self, name: str, line: str) -> None:
        prefix = f"{time.strftime('%H:%M:%S')} {name:<{max(map(len, self.commands))}} | "
        if name in self.commands and sys.stdout.isatty():
            colour = COLOURS[list(self.commands).index(name) % len(COLOURS)]
            prefix = f"\033[{colour}m{prefix}\033[0m"
        with suppress(OSError):  # the terminal may be gone; the processes must still be stopped
            print(f"{prefix}{line}\n", end="", flush=True)
