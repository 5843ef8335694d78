"""Many annotators at once over HTTP: how many comparisons they get through, and whether any is lost, doubled or given twice.

    python -m bench.annotators [--people 32] [--seconds 30] [--required 1]                            SQLite
    python -m tests.postgres python -m bench.annotators [--people 32] [--seconds 30] [--required 1]   PostgreSQL

Each judges a comparison and gets the next one with the answer, without a pause, as the compare
page's script does. The web server is the Procfile's (two gunicorn workers); server, database and load share the machine. It
warms up for a few seconds first. Ends with 1 if something was lost, doubled or handed to too many.
"""

import argparse
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.environment import fresh_django

WARM_UP_SECONDS = 3
ANSWER = "A sentence of an answer that somebody reads to its end, with `code` and **weight** in it. "
SHOWN = re.compile(rb'id=\\?"pair\\?" data-assignment=\\?"([0-9a-f-]{36})')
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Annotator:
    """One person's browser: a session, a token against forgery, a connection."""

    port: int
    session: str
    seed: int
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    seconds: list[float] = field(default_factory=list)
    given: list[str] = field(default_factory=list)  # assignments, as they came
    accepted: list[str] = field(default_factory=list)  # keys of judgements that the server has acknowledged

    def work(self, start: float, end: float) -> None:
        """Loops and their times are counted from `start`. The answer to a judgement brings the next pair with it."""
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        page, took = self.post("next", {"beside": ""})
        while (began := time.perf_counter()) < end:
            shown = SHOWN.search(page)
            if shown is None:
                raise RuntimeError(f"There was no comparison left: {page[:300]!r}. Take fewer seconds.")
            assignment, key = shown[1].decode(), str(uuid.uuid4())
            self.given.append(assignment)
            choice = "ab"[len(self.given) % 2]
            page, took = self.post(
                "judge", {"assignment": assignment, "key": key, "choice": choice, "seconds": "5", "then": "next", "beside": ""}
            )
            self.accepted.append(key)
            if began >= start:
                self.seconds.append(took)
        self.connection.close()

    def post(self, where: str, fields: dict[str, str]) -> tuple[bytes, float]:
        headers = {
            "Cookie": f"sessionid={self.session}; csrftoken={self.token[:32]}",
            "X-CSRFToken": self.token[:32],
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json" if where == "judge" else "text/html",
        }
        began = time.perf_counter()
        self.connection.request("POST", f"/projects/load/compare/{where}/", urllib.parse.urlencode(fields), headers)
        response = self.connection.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{where} was answered with {response.status}: {body[:300]!r}")
        return body, took


def main(people: int, seconds: float, required: int) -> int:
    with fresh_django() as vendor:
        size = int(400 * seconds) + 50 * people
        sessions = prepare(people, size, required)
        annotators, used, memory = run(sessions, seconds)
        wrong = faults(annotators, required)
    took = sorted(each for annotator in annotators for each in annotator.seconds)
    print(f"{vendor}: {people} annotators, {required} judgement(s) per comparison, {seconds:g} s")
    print(f"  loops/s    {len(took) / seconds:8.1f}")
    print(f"  request    {1000 * statistics.median(took):8.1f} ms p50, {1000 * statistics.quantiles(took, n=20)[-1]:.1f} ms p95")
    per_loop = {name: 1000 * spent / len(took) for name, spent in used.items()}
    shares = ", ".join(f"{name} {spent:.1f}" for name, spent in per_loop.items())
    print(f"  CPU a loop {sum(per_loop.values()):8.1f} ms: {shares}")
    print("  memory     " + ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in memory.items()))
    print("  " + ", ".join(f"{count} {what}" for what, count in wrong.items()))
    return int(any(wrong.values()))


def prepare(people: int, size: int, required: int) -> list[str]:
    """A project with so many open comparisons, and a session for each of its annotators."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.core.management import call_command

    from annotate.models import Comparison, Completion, Membership, Project, Prompt, User

    call_command("collectstatic", interactive=False, verbosity=0)
    project = Project.objects.create(slug="load", name="Load", judgements_required=required)
    prompts = Prompt.objects.bulk_create(
        Prompt(project=project, messages=[{"role": "user", "content": f"Question {n}?"}], content_hash=f"{n:064}", split="train")
        for n in range(size)
    )
    texts = [Completion(prompt=prompt, text=f"{side} {n}. {ANSWER * 6}") for n, prompt in enumerate(prompts) for side in "ab"]
    made = Completion.objects.bulk_create(texts, batch_size=2000)
    Comparison.objects.bulk_create(
        [
            Comparison(
                project=project, prompt=prompt, first=made[2 * n], second=made[2 * n + 1], judgements_required=required,
                free_places=required,
            )
            for n, prompt in enumerate(prompts)
        ],
        batch_size=2000,
    )  # fmt: skip
    sessions = []
    for number in range(people):
        user = User.objects.create_user(f"annotator{number}")
        Membership.objects.create(project=project, user=user, role="annotator")
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        sessions.append(session.session_key)
    return sessions


def run(sessions: list[str], seconds: float) -> tuple[list[Annotator], dict[str, float], dict[str, float]]:
    """Returns the annotators, CPU seconds by who spent them, and the memory at the end in MB."""
    with web_server() as (port, server):
        annotators = [Annotator(port, session, number) for number, session in enumerate(sessions)]
        start = time.perf_counter() + WARM_UP_SECONDS
        failures: list[BaseException] = []

        def work(annotator: Annotator) -> None:
            try:
                annotator.work(start, start + seconds)
            except BaseException as error:  # told when all have ended
                failures.append(error)

        threads = [threading.Thread(target=work, args=(annotator,)) for annotator in annotators]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, start - time.perf_counter()))
        roots = {"web": server.pid, "database": postmaster(), "load": os.getpid()}
        before = {name: cpu_of(root) for name, root in roots.items() if root}
        for thread in threads:
            thread.join()
        used = {name: cpu_of(roots[name]) - was for name, was in before.items()}
        memory = {name: sum(map(memory_of, tree_of(roots[name]))) for name in before if name != "load"}
    if failures:
        raise failures[0]
    return annotators, used, memory


def faults(annotators: list[Annotator], required: int) -> dict[str, int]:
    from django.db.models import Count, Q

    from annotate.models import Assignment, Comparison, Judgement

    standing = Q(judgements__withdrawn_at=None, judgements__isnull=False)
    counted = Comparison.objects.annotate(people=Count("assignments", distinct=True))
    judged = Comparison.objects.annotate(answers=Count("judgements", filter=standing, distinct=True))
    stored = {str(key) for key in Judgement.objects.values_list("key", flat=True)}
    accepted = [key for annotator in annotators for key in annotator.accepted]
    given = [assignment for annotator in annotators for assignment in annotator.given]
    twice = Judgement.objects.values("assignment").annotate(n=Count("pk")).filter(n__gt=1).count()
    return {
        "double assignments": counted.filter(people__gt=required).count() + len(given) - len(set(given)),
        "lost judgements": len(set(accepted) - stored),
        "doubled judgements": twice + judged.filter(answers__gt=required).count() + len(stored - set(accepted)),
        "answers to nothing": Assignment.objects.filter(state="judged").count() - len(stored),
    }


# -- the server, and what processes use --------------------------------------------------------------------


@contextmanager
def web_server() -> Iterator[tuple[int, subprocess.Popen]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", "--log-level", "error", "config.wsgi"]
    environment = {**os.environ, "PORT": str(port), "BASE_URL": f"http://127.0.0.1:{port}"}
    server = subprocess.Popen(command, env=environment)
    try:
        for _ in range(300):
            if server.poll() is not None:
                raise RuntimeError("The web server did not start.")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1)  # both workers
        yield port, server
    finally:
        server.terminate()
        server.wait(20)


def postmaster() -> int | None:
    from django.db import connection

    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        directory = cursor.fetchone()[0]
    return int(Path(directory, "postmaster.pid").read_text().splitlines()[0])


def tree_of(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def cpu_of(root: int) -> float:
    """Seconds in the process and its children, those that have ended included; of this process, in itself alone."""
    if root == os.getpid():
        return time.process_time()
    seconds = 0.0
    for pid in tree_of(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        seconds += sum(map(int, fields[11:15])) / TICKS
    return seconds


def memory_of(pid: int) -> float:
    """Megabytes, what is shared counted in parts (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.annotators")
    parser.add_argument("--people", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--required", type=int, default=1, help="judgements per comparison")
    sys.exit(main(**vars(parser.parse_args())))
