"""`transformers serve`, a model server that is not ours, with one model directory, on a free port of this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 180
PROGRAM = "from transformers.cli.transformers import main; main()"


@contextmanager
def transformers_serve(model: Path, scratch: Path) -> Iterator[tuple[str, str]]:
    """The server's address, and what it calls its model: a copy in `scratch` that samples. It does so only if the model's
    generation_config.json says so, whatever temperature a request asks for. Raises RuntimeError with the end of its log."""
    directory = scratch / model.name
    shutil.copytree(model, directory)
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, "serve", str(directory), "--host", "127.0.0.1", "--port", str(port)]
    log = scratch / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            _wait_until_it_answers(process, port, log)
            yield f"http://127.0.0.1:{port}/v1", str(directory)
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_it_answers(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"transformers serve does not answer:\n{log.read_text()[-2000:]}")
