"""`manage.py serve`: the Procfile's processes in one terminal, and a way in."""

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotate.models import Membership
from annotate.models.project import Role
from annotate.people.sign_in import create_sign_in_link
from annotate.processes import Processes, read_procfile

PATIENCE_SECONDS = 3  # what the web server of a `serve` that was killed may take to leave the port


class Command(BaseCommand):
    help = "Run the web server, a worker and the clock; print a one-time sign-in link for the owner."

    def handle(self, **options: Any) -> None:
        owner = Membership.objects.filter(role=Role.OWNER, user__is_active=True).order_by("id").first()
        if owner is None:
            raise CommandError("There is no project yet, so nobody could sign in. Run `.venv/bin/python manage.py set_up` first.")
        address = f"http://{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
        refuse_taken_address(address)
        link = create_sign_in_link(user=owner.user)
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
        }
        processes = Processes(read_procfile(settings.BASE_DIR / "Procfile"), directory=settings.BASE_DIR, environment=environment)
        threading.Thread(target=welcome, args=(address, link, owner.user.username), daemon=True).start()
        sys.exit(processes.run())


def refuse_taken_address(address: str) -> None:
    """Another server on the same port would make every process of this one stop again, without a clear word."""
    end = time.monotonic() + PATIENCE_SECONDS
    while answers(address):
        if time.monotonic() > end:
            raise CommandError(
                f"Something already answers at {address}. Stop it, or choose another port: "
                "PORT=8001 BASE_URL=http://127.0.0.1:8001 make run"
            )
        time.sleep(0.5)


def welcome(address: str, link: str, username: str) -> None:
    """Waits until the server answers, then prints the link, so that it is the last thing on the terminal."""
    for _ in range(600):
        if answers(address):
            print("\n  Prefloop is ready.\n")
            print(f"  Sign in as {username} (once, within {settings.SIGN_IN_LINK_HOURS} hours):\n\n    {link}\n")
            print("  Another link: .venv/bin/python manage.py sign_in_link NAME      Stop: Ctrl-C\n", flush=True)
            return
        time.sleep(0.2)


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/sign-in/", timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
