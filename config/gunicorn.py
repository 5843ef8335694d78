"""The web server's settings. HOST, PORT, WEB_WORKERS and WEB_THREADS come from the environment."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
timeout = 60
keepalive = 75  # seconds; with the default of two, a page that asks every two seconds meets a closing connection
graceful_timeout = 4  # seconds; `make run` waits five for its processes
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
control_socket_disable = True

REQUESTS_OF_A_CONNECTION = 20


def pre_request(worker, req) -> None:
    """A connection that is kept open stays with the worker process that took it, busy or not: after some requests it is closed,
    and the next one goes to whoever is free."""
    if req.req_number % REQUESTS_OF_A_CONNECTION == 0:
        req.must_close = True
