"""How long the list pages of a project with very much in it take: a million judgements of thirty people.

    python -m tests.postgres python -m bench.lists [JUDGEMENTS]   (PostgreSQL alone: the rows are made by it)

As `bench.pages` measures. Beside the judgements: a dispute in every hundred comparisons, 200 known answers, 100 batches,
10,000 invitations, 200 projects, 50 runs, a version that serves and has answered every prompt. What the clock keeps for pages
is made first, as it would be; that takes longest.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.environment import fresh_django
from bench.pages import AIM_MS, measure

PEOPLE, PROJECTS, INVITATIONS, HANDOUTS, GOLD, RUNS = 30, 200, 10_000, 100, 200, 50
BASE = 10  # the key of the newest row that is written one by one
PAGES = (
    "", "review/", "mine/", "members/", "data/", "gold/", "gold/?show=all", "batches/", "invitations/", "quality/",
    "quality/people/{person}/", "train/", "train/?preset=small&people={person}", "runs/", "versions/",
    "versions/0/", "versions/0/judgements/?of=answers", "versions/1/judgements/?of=answers", "evaluations/",
    "leaderboard/", "ai/", "endpoints/", "webhooks/", "guidelines/history/",
)  # fmt: skip
LISTS = (
    "members/", "gold/", "gold/people/", "handouts/", "review/", "review/decisions/", "prompts/", "completions/", "comparisons/",
    "judgements/all/", "progress/", "datasets/", "runs/", "versions/", "evaluations/",
)  # fmt: skip


def main(judgements: int) -> None:
    with fresh_django() as vendor:
        if vendor != "postgresql":
            sys.exit("Run it under PostgreSQL: python -m tests.postgres python -m bench.lists")
        from django.core.management import call_command

        call_command("collectstatic", interactive=False, verbosity=0)
        began = time.perf_counter()
        person = fill(judgements)
        print(f"{judgements:,} judgements, filled in {time.perf_counter() - began:.0f} s")
        for what, first, again in count():
            print(f"  {what} counted by the clock in {first:.1f} s, again after one more judgement in {again:.2f} s")
        addresses = [f"/projects/much/{page.format(person=person)}" for page in PAGES]
        addresses += [f"/api/v1/projects/much/{name}" for name in LISTS]
        for url in ("/", *addresses, "/api/v1/projects/"):
            first, median, queries = measure(url)
            mark = "" if median <= AIM_MS else f"   above {AIM_MS} ms"
            print(f"  {url:<45} {median:6.0f} ms, first {first:6.0f} ms, {queries:3} queries{mark}", flush=True)


def fill(judgements: int) -> int:
    """Returns the id of one of the people."""
    from django.db import connection

    from annotate.models import User

    owner = User.objects.create_user("owner")
    rows = fill_by_hand(owner)
    multiply_rows(rows, judgements, prompts=judgements // 10)
    mark_some(rows["pair"].project, judgements, by=owner)
    fill_beside(rows["pair"].project, by=owner)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return owner.pk + 1


def fill_by_hand(owner: Any) -> dict[str, Any]:
    """One row of each kind: a pair by a version that serves, and its judgement."""
    from django.utils import timezone

    from annotate.models import Assignment, Comparison, Completion, Judgement, Membership, Project, Prompt
    from training.models import Promotion, Version

    project = Project.objects.create(slug="much", name="Much")
    member = Membership.objects.create(project=project, user=owner, role="owner")
    version = Version.objects.create(
        project=project, number=0, name="base", directory="models/none", metrics={"described_at": "2026"}
    )
    Promotion.objects.create(project=project, version=version)
    prompt = Prompt.objects.create(
        project=project, messages=[{"role": "user", "content": "A question?"}], content_hash="0" * 64, split="train"
    )
    texts = (f"{side} answer. " * 20 for side in ("One", "Another"))
    first, second = (Completion.objects.create(prompt=prompt, text=text, version=version, token_count=60) for text in texts)
    pair = Comparison.objects.create(
        project=project, prompt=prompt, first=first, second=second, judgements_required=1, free_places=0, state="done"
    )
    lease = {"comparison": pair, "annotator": owner, "swapped": False, "state": "judged", "expires_at": timezone.now()}
    assignment = Assignment.objects.create(**lease)
    judgement = Judgement.objects.create(assignment=assignment, comparison=pair, annotator=owner, outcome="first", seconds=20.0)
    return {
        "owner": owner, "member": member, "prompt": prompt, "first": first, "second": second, "pair": pair,
        "assignment": assignment, "judgement": judgement,
    }  # fmt: skip


def multiply_rows(rows: dict[str, Any], judgements: int, *, prompts: int) -> None:
    """Many people who have judged many pairs of many prompts, one every three seconds until now."""
    from django.db import connection

    at, owner = f"{BASE} + n", rows["owner"].pk
    some_prompt, some_person = f"{BASE} + 1 + n % {prompts}", f"{owner} + 1 + n % {PEOPLE}"
    own_id, own_key = "md5('a' || n)::uuid", "md5('k' || n)::uuid"
    sides = {"first_id": f"{BASE} + 2 * (1 + n % {prompts})", "second_id": f"{BASE} + 2 * (1 + n % {prompts}) + 1"}
    when = "now() - n * interval '3 seconds'"
    said = "CASE n % 5 WHEN 0 THEN 'second' ELSE 'first' END"
    multiply(rows["owner"], PEOPLE, id=f"{owner} + n", username="'person' || n")
    multiply(rows["member"], PEOPLE, user_id=f"{owner} + n", role="'annotator'")
    multiply(rows["prompt"], prompts, id=at, content_hash="lpad(n::text, 64, '0')")
    multiply(rows["first"], prompts, id=f"{BASE} + 2 * n", prompt_id=at)
    multiply(rows["second"], prompts, id=f"{BASE} + 2 * n + 1", prompt_id=at)
    multiply(rows["pair"], judgements, id=at, prompt_id=some_prompt, **sides, created_at=when)
    multiply(rows["assignment"], judgements, id=own_id, comparison_id=at, annotator_id=some_person, leased_at=when)
    multiply(
        rows["judgement"], judgements, id=at, key=own_key, assignment_id=own_id, comparison_id=at, annotator_id=some_person,
        outcome=said, seconds="5 + n % 60", created_at=when,
    )  # fmt: skip
    with connection.cursor() as cursor:
        for row in ("owner", "prompt", "first", "pair", "judgement"):
            table = rows[row]._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


def mark_some(project: Any, judgements: int, *, by: Any) -> None:
    """Some pairs wait for another judgement, some are in dispute, some have a known answer."""
    from annotate.models import Comparison, Dispute, GoldAnswer

    known = range(BASE + 1, BASE + GOLD + 1)
    project.comparisons.filter(pk__in=known).update(purpose="gold")
    GoldAnswer.objects.bulk_create(GoldAnswer(comparison_id=pk, low=1, high=4, by=by) for pk in known)
    waiting = range(BASE + 7, BASE + judgements, 50)
    for start in range(0, len(waiting), 5_000):
        some = Comparison.objects.filter(pk__in=list(waiting[start : start + 5_000]))
        some.update(state="open", free_places=1, judgements_required=2)
    disputed = range(BASE + 1000, judgements, 100)
    Dispute.objects.bulk_create(Dispute(comparison_id=pk, project=project, disagreement=True) for pk in disputed)


def fill_beside(project: Any, *, by: Any) -> None:
    """Other projects; batches, invitations and runs of this one."""
    from django.utils import timezone

    from annotate.models import Handout, Invitation, Membership, Project
    from training.models import Dataset, Run, Version

    for number in range(PROJECTS):
        other = Project.objects.create(slug=f"project-{number}", name=f"Project {number}")
        Membership.objects.create(project=other, user=by, role="owner")
    Handout.objects.bulk_create(
        Handout(project=project, number=n, name=f"Batch {n}", size=50, by=by) for n in range(1, HANDOUTS + 1)
    )
    Invitation.objects.bulk_create(
        Invitation(project=project, number=n, token_sha256=f"{n:064}", by=by, expires_at=timezone.now())
        for n in range(1, INVITATIONS + 1)
    )
    dataset = Dataset.objects.create(
        project=project, number=1, directory="datasets/none", train_sha256="a" * 64, heldout_sha256="b" * 64, train_count=320,
        heldout_count=80, counts={"tie": 6}, filters={"consensus": "majority"},
    )  # fmt: skip
    base = project.versions.get()
    Version.objects.create(project=project, number=1, name="silent", parent=base, directory="models/none", metrics=base.metrics)
    asked = {"dataset": dataset, "parent": base, "reference": base, "settings": {"preset": "small"}, "state": "cancelled"}
    Run.objects.bulk_create(Run(project=project, number=n, directory=f"runs/{n}", **asked) for n in range(1, RUNS + 1))


def multiply(row: Any, count: int, **columns: str) -> None:
    """So many rows like this one, but for the columns given as SQL of `n`, the row's number from 1 on."""
    from django.db import connection

    meta = row._meta
    names = [field.column for field in meta.concrete_fields if field.column in columns or not field.primary_key]
    values = ", ".join(columns.get(name, f'model."{name}"') for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{meta.db_table}" ({quoted}) SELECT {values} FROM "{meta.db_table}" model, '
            f"generate_series(1, {count}) n WHERE model.\"{meta.pk.column}\" = '{row.pk}'"
        )


def count() -> Iterator[tuple[str, float, float]]:
    """What the clock keeps for pages, and the seconds it takes for all judgements, and for one more."""
    from annotate.models import Project
    from annotate.projects.progress import keep_pairs
    from annotate.quality import counts
    from training.datasets import kept_previews
    from training.generation.unanswered import note_all_answered
    from training.leaderboard.counting import count_leaderboard
    from training.versions.registry import serving_version

    project = Project.objects.get(slug="much")
    parts: dict[str, Callable[[], Any]] = {
        "pairs": lambda: keep_pairs(project=project),
        "prompts without a pair": lambda: note_all_answered(version=serving_version(project)),
        "judgements": lambda: finish(counts.count_on, project),
        "what a dataset would hold": lambda: finish(kept_previews.count_on, project),
        "the leaderboard": lambda: count_leaderboard(project=project),
    }
    taken = {what: [seconds_of(part)] for what, part in parts.items()}
    judge_one_more(project)
    for what, part in parts.items():
        yield what, taken[what][0], seconds_of(part)


def finish(count_on: Callable[..., bool], project: Any) -> None:
    while count_on(project=project):
        pass


def seconds_of(part: Callable[[], Any]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began


def judge_one_more(project: Any) -> None:
    from django.utils import timezone

    from annotate.models import Assignment, Judgement, User

    pair, person = project.comparisons.filter(state="open").last(), User.objects.get(username="owner")
    lease = Assignment.objects.create(comparison=pair, annotator=person, swapped=False, state="judged", expires_at=timezone.now())
    Judgement.objects.create(assignment=lease, comparison=pair, annotator=person, outcome="first", seconds=9.0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
