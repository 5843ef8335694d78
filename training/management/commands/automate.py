"""`manage.py automate`: the clock. Looks every few seconds whether something is due (`training.clock.automation`)."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from training.clock.automation import tick

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Start what is due: refill low queues, take up jobs whose worker died. Runs until it is stopped."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--once", action="store_true", help="Look once and end.")
        parser.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="(default: %(default)s)")

    def handle(self, *, once: bool, interval: float, **options: Any) -> None:
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                tick()
            except Exception:  # whatever it is, the clock goes on: without it, nothing else would
                logger.exception("the tick failed; it is tried again in %s s", interval)
            if once:
                return
            stop.wait(interval)
            close_old_connections()  # as Django does between requests: one that broke is made anew
