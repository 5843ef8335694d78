"""How long the pages of a project with a long history take: 200 versions, 1,000 runs, a million metric points.

    python -m bench.pages [POINTS]                            SQLite
    python -m tests.postgres python -m bench.pages [POINTS]   PostgreSQL

Through Django's test client: all of a request but the network. Figures are medians of ROUNDS, after one request that fills
caches; the first request is told beside them. The aim is 200 ms.
"""

import statistics
import sys
import time
from itertools import islice

from bench.environment import fresh_django

VERSIONS, RUNS, ROUNDS, AIM_MS = 200, 1_000, 7, 200
BATCH = 5_000
PAGES = (
    "", "train/", "runs/", "runs/{long}/", "runs/{long}/events.json", "runs/compare/?run={long}&run={other}", "versions/",
    "versions/?sort=-accuracy&q=v", "versions/{version}/", "versions/{version}/judgements/",
)  # fmt: skip


def main(points: int) -> None:
    with fresh_django() as vendor:
        from django.core.management import call_command

        call_command("collectstatic", interactive=False, verbosity=0)
        began = time.perf_counter()
        place = fill(points)
        print(f"{vendor}: {VERSIONS} versions, {RUNS:,} runs, {points:,} points, filled in {time.perf_counter() - began:.0f} s")
        for page in PAGES:
            first, median, queries = measure("/projects/long/" + page.format(**place))
            mark = "" if median <= AIM_MS else f"   above {AIM_MS} ms"
            print(f"  /{page:<40} {median:6.0f} ms, first {first:6.0f} ms, {queries:3} queries{mark}", flush=True)


def fill(points: int) -> dict[str, int]:
    """One run has a twentieth of all points; the others share the rest."""
    from annotate.models import Membership, Project, User
    from training.models import Dataset, Promotion, Run, RunEvent, Version

    project = Project.objects.create(slug="long", name="Long")
    Membership.objects.create(project=project, user=User.objects.create_user("owner"), role="owner")
    judgements = judge(project, 400)
    dataset = Dataset.objects.create(
        project=project, number=1, directory="datasets/none", train_sha256="a" * 64, heldout_sha256="b" * 64, train_count=320,
        heldout_count=80, counts={"tie": 6}, filters={"consensus": "majority"},
    )  # fmt: skip
    dataset.judgements.set(judgements)
    described = {"mean_tokens": 40.0, "ended_share": 0.9, "heldout_accuracy": 0.7, "kl": 1.0, "described_at": "2026"}
    base = Version.objects.create(project=project, number=0, name="base", directory="models/none", metrics=described)
    Promotion.objects.create(project=project, version=base)
    versions = [base]
    for number in range(1, RUNS + 1):
        parent = versions[(number * 7) % len(versions)] if number % 5 == 0 else versions[-1]
        run = Run.objects.create(
            project=project, number=number, dataset=dataset, parent=parent, reference=parent, directory=f"runs/{number}",
            settings={"preset": "small", "overrides": {"beta": 0.1 + number / 1000}}, state="done", progress=100, total=100,
        )  # fmt: skip
        if len(versions) < VERSIONS and number % 5 == 0:
            versions.append(
                Version.objects.create(
                    project=project, number=len(versions), name=f"run {number}", parent=parent, run=run,
                    directory=f"runs/{number}/model", serve_dtype="float32", metrics=described, parameters=135_000_000,
                )
            )  # fmt: skip
    runs = list(Run.objects.order_by("number").values_list("pk", flat=True))
    shares = {runs[-5]: points // 20}
    shares |= dict.fromkeys((pk for pk in runs if pk != runs[-5]), (points - points // 20) // (RUNS - 1))
    values = {"loss": 0.5, "accuracy": 0.7, "margin": 1.1, "chosen_logp": -80.0, "rejected_logp": -90.0, "grad_norm": 1.0}
    rows = (
        RunEvent(run_id=pk, line=n, kind="heldout" if n % 50 == 0 else "step", step=n, data=values | {"time": 1e9 + n})
        for pk, count in shares.items()
        for n in range(1, count + 1)
    )
    while batch := list(islice(rows, BATCH)):
        RunEvent.objects.bulk_create(batch)
    return {"long": RUNS - 4, "other": RUNS, "version": VERSIONS - 1}


def judge(project, count: int) -> list:
    from django.utils import timezone

    from annotate.models import Assignment, Comparison, Completion, Judgement, Prompt
    from annotate.models.prompt import Split, content_hash

    annotator, made = project.members.get(), []
    for number in range(count):
        messages = [{"role": "user", "content": f"Question {number}?"}]
        digest = content_hash(messages)
        prompt = Prompt.objects.create(project=project, messages=messages, content_hash=digest, split=Split.of(digest))
        first, second = (Completion.objects.create(prompt=prompt, text=f"{side} {number}") for side in ("One", "Two"))
        comparison = Comparison.objects.create(
            project=project, prompt=prompt, first=first, second=second, judgements_required=1, free_places=0, state="done"
        )
        assignment = Assignment.objects.create(
            comparison=comparison, annotator=annotator, swapped=False, state="judged", expires_at=timezone.now()
        )
        made.append(Judgement.objects.create(assignment=assignment, comparison=comparison, annotator=annotator, outcome="first"))
    return made


def measure(url: str) -> tuple[float, float, int]:
    """Milliseconds of the first request and the median of those after it; the number of queries."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from annotate.models import User

    settings.ALLOWED_HOSTS = ["*"]
    client = Client()
    client.force_login(User.objects.get(username="owner"), "django.contrib.auth.backends.ModelBackend")
    taken = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        answer = client.get(url)
        taken.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, (url, answer.status_code)
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    return taken[0], statistics.median(taken[1:]), len(queries)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
