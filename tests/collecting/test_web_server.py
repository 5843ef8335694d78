"""The web server's own settings, by a real one."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HALF_SENT = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nhalf"
# What it answers is a word; a body that is announced is waited for.
APPLICATION = """
def application(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", "4")])
    return [b"here"]
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server of two processes, each with one thread."""
    (tmp_path / "for_tests.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", "for_tests"]
    asked = {"PORT": str(port), "HOST": "127.0.0.1", "WEB_WORKERS": "2", "WEB_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | asked, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1)  # both
        yield port
    finally:
        server.terminate()
        server.wait(20)


def ask(port: int) -> tuple[bytes, str | None]:
    """What is answered, and what is said about the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    response = connection.getresponse()
    try:
        return response.read(), response.getheader("Connection")
    finally:
        connection.close()


def test_who_sends_slowly_holds_up_nobody_but_themselves(port: int) -> None:
    """The other process answers: nobody waits in line behind them at the one that they keep."""
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(HALF_SENT)
        time.sleep(0.5)
        assert {ask(port) for _ in range(20)} == {(b"here", "close")}
        slow.sendall(b"-whole")
        assert slow.makefile("rb").read().endswith(b"here")


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="of Linux")
def test_connections_that_say_nothing_hold_up_nobody(port: int) -> None:
    """Browsers open some in advance. A thread that waited for their first word would do so for five seconds, one
    after the other: longer than it is waited for here.
    """
    with ExitStack() as opened:
        for _ in range(20):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert ask(port)[0] == b"here"
