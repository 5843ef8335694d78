"""The processes of `make run`."""

import os
import signal
import subprocess
import time

import pytest
from django.conf import settings

from annotate.processes import read_procfile

COMMANDS = read_procfile(settings.BASE_DIR / "Procfile")


@pytest.mark.parametrize("name", ["worker", "clock"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_ends_is_started_again_and_takes_no_other_with_it(name, code, tmp_path):
    """Also when it ends well: somebody who stops the worker by its id must not stop the web server."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho start >> {tmp_path}/starts\nexit {code}\n")
    python.chmod(0o755)
    process = subprocess.Popen(
        COMMANDS[name], shell=True, start_new_session=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end and not (
            (tmp_path / "starts").exists() and (tmp_path / "starts").read_text().count("start") > 1
        ):
            time.sleep(0.1)
        assert (tmp_path / "starts").read_text().count("start") > 1 and process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # as `manage.py serve` does
    assert process.wait(5) == -signal.SIGTERM
