"""The web server's own settings, by a real one."""

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_connection_that_is_kept_open_is_closed_after_twenty_requests() -> None:
    """So that people who came when one worker process was busy do not stay with it, or without it, for the day."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", "wsgiref.simple_server:demo_app"]
    environment = os.environ | {"PORT": str(port), "HOST": "127.0.0.1", "WEB_WORKERS": "1"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        connection = connect(port)
        said = []
        for _ in range(41):
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            said.append(response.getheader("Connection"))
    finally:
        connection.close()
        server.terminate()
        server.wait(20)
    assert [number for number, word in enumerate(said, 1) if word == "close"] == [20, 40]


def connect(port: int) -> http.client.HTTPConnection:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("The web server did not start.")
