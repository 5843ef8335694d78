"""Real workers on a test's database, to be stopped and killed."""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection


def worker(*options: str) -> subprocess.Popen:
    environment = {
        **os.environ,
        "DATABASE_URL": _address_of_the_test_database(),
        "VAR_DIR": str(settings.VAR_DIR),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "manage.py", "db_worker", "--queue-name", "*", "--interval", "0.1", "--no-reload"]
    command += ["--no-startup-delay", "--skip-checks", *options]
    process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)  # of a test that failed before it could
    return process


def _address_of_the_test_database() -> str:
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
