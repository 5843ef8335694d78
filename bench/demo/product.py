"""The product as a user starts it (`make run`), on a database and a port of its own."""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Product:
    """`with Product(directory) as product:` sets it up and serves it; `product.link` signs the owner in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        port = free_port()
        self.environment = {
            **os.environ,
            "VAR_DIR": str(directory),
            "DATABASE_URL": f"sqlite:///{directory / 'demo.sqlite3'}",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "BASE_URL": f"http://127.0.0.1:{port}",
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "PASSIVE",  # as the Procfile's worker: the measurement runs on the same cores
        }
        self.link = ""
        self._ready = threading.Event()

    def __enter__(self) -> "Product":
        self.directory.mkdir(parents=True, exist_ok=True)
        self.manage("set_up")
        self._server = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        threading.Thread(target=self._follow, daemon=True).start()
        self._ready.wait(timeout=120)
        if not self.link:
            self.__exit__()
            raise RuntimeError(f"The product did not start within two minutes; see {self.log}.")
        return self

    def __exit__(self, *error: object) -> None:
        self._server.terminate()
        self._server.wait(timeout=60)

    @property
    def log(self) -> Path:
        return self.directory / "demo.log"

    def manage(self, *words: str) -> str:
        """The output of `manage.py WORDS`."""
        run = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return run.stdout

    def sign_in_link(self, output: str) -> str:
        """The link that a command has printed."""
        found = re.search(r"http://\S+/sign-in/\S+", output)
        if not found:
            raise RuntimeError(f"No sign-in link in: {output}")
        return found.group()

    def _follow(self) -> None:
        """Keeps the processes' output in a file, and picks the owner's link out of it."""
        assert self._server.stdout is not None
        with self.log.open("a") as log:
            for line in self._server.stdout:
                log.write(line)
                log.flush()
                if not self.link and "/sign-in/" in line:
                    self.link = self.sign_in_link(line)
                    self._ready.set()
        self._ready.set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
