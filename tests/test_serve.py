"""`manage.py serve`: its processes end with it, however it ends, and quietly."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

import manage
from annotate.processes import read_procfile

STARTER = """
import os, sys
from pathlib import Path
from annotate.processes import Processes
names = sys.argv[1::2]
sys.exit(Processes(dict(zip(names, sys.argv[2::2])), directory=Path.cwd(), environment=dict(os.environ)).run())
"""


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def start():
    """Starts `Processes` in a process of its own; ends what is left of it."""
    started = []

    def run(**commands: str) -> subprocess.Popen:
        words = [word for pair in commands.items() for word in pair]
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER, *words],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def beating(path: Path) -> str:
    """A command that never ends by itself and shows in a file that it goes on."""
    return f"while :; do i=$((i+1)); echo $i > {path}; sleep 0.05; done"


def goes_on(path: Path) -> bool:
    before = path.read_text()
    time.sleep(0.5)
    return path.read_text() != before


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_a_kill_9_leaves_nothing_behind(start, tmp_path, reaped):
    one, other = tmp_path / "one", tmp_path / "other"
    process = start(one=beating(one), other=f"sh -c '{beating(other)}'")
    wait_for(lambda: one.exists() and other.exists() and goes_on(one) and goes_on(other))
    process.kill()
    if reaped:
        process.wait()
    wait_for(lambda: not (goes_on(one) or goes_on(other)), 10)


def test_what_does_not_listen_is_killed(start, tmp_path):
    deaf = tmp_path / "deaf"
    process = start(deaf=f"trap '' TERM; {beating(deaf)}")
    wait_for(lambda: deaf.exists() and goes_on(deaf))
    process.kill()
    wait_for(lambda: not goes_on(deaf), 15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_quietly(start, tmp_path, number):
    one, other = tmp_path / "one", tmp_path / "other"
    process = start(one=f"echo hello; {beating(one)}", other=beating(other))
    said = process.stdout.readline()  # before the signal, or "stopping …" may come first
    wait_for(lambda: one.exists() and other.exists())
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and not goes_on(one) and not goes_on(other)
    lines = [line.split(" ", 1)[1] for line in (said + output).splitlines()]
    assert lines == ["one   | hello", "stop  | stopping …"]


def test_when_one_ends_all_end_with_its_code(start, tmp_path):
    other = tmp_path / "other"
    process = start(one=f"while [ ! -e {other} ]; do sleep 0.1; done; exit 3", other=beating(other))
    assert process.wait(20) == 3 and not goes_on(other)


def test_the_procfile_is_read():
    assert list(read_procfile(settings.BASE_DIR / "Procfile")) == ["web", "worker", "clock"]


def test_a_ctrl_c_that_comes_early_is_quiet(monkeypatch, capfd):
    def interrupted(argv: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("django.core.management.execute_from_command_line", interrupted)
    with pytest.raises(SystemExit) as end:
        manage.main()
    assert end.value.code == 130 and capfd.readouterr() == ("", "")


OWNER = """
from annotate.models import Membership, Project, User
Membership.objects.create(project=Project.objects.create(slug="p", name="P"), user=User.objects.create_user("o"), role="owner")
"""


def test_after_a_kill_9_the_next_serve_just_works(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "VAR_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/db", "PORT": str(port)}
    environment |= {"BASE_URL": f"http://127.0.0.1:{port}", "WEB_WORKERS": "1"}

    def command(*words: str) -> list[str]:
        return [sys.executable, "manage.py", *words]

    for words in (("migrate", "-v0"), ("collectstatic", "-v0", "--noinput"), ("shell", "-v0", "-c", OWNER)):
        subprocess.run(command(*words), cwd=settings.BASE_DIR, env=environment, check=True)

    def serve() -> subprocess.Popen:
        output = (tmp_path / "output").open("w")
        process = subprocess.Popen(
            command("serve"), cwd=settings.BASE_DIR, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        output.close()
        wait_for(lambda: "Stop: Ctrl-C" in said() or process.poll() is not None)
        return process

    def said() -> str:
        return (tmp_path / "output").read_text()

    first = serve()
    first.kill()
    first.wait()
    second = serve()
    try:
        assert second.poll() is None, said()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in/", timeout=10).close()
        os.killpg(second.pid, signal.SIGINT)  # as a terminal does
        assert second.wait(30) == 0
        assert "Traceback" not in said() and "SIGKILL" not in said()
    finally:
        second.kill()
        second.wait()
