"""The web server's settings. HOST, PORT, WEB_WORKERS and WEB_THREADS come from the environment.

Everybody waits in one line, the system's, and whichever thread is free takes the first. So a process takes no connection before
it has a thread for it, keeps none open after its answer, and does not see one that says nothing.
"""

import os
import socket

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"  # with one thread, too
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
worker_connections = threads
keepalive = 0
timeout = 60
graceful_timeout = 4  # seconds; `make run` waits five for its processes
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
control_socket_disable = True

SILENT_SECONDS = 60  # that a connection may say nothing before the system gives it up


def when_ready(server) -> None:
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # elsewhere a thread waits some seconds for the first word
        for listener in server.LISTENERS:
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_SECONDS)
