"""How long the list pages of a project with very much in it take: a million judgements of thirty people.

    python -m tests.postgres python -m bench.lists [JUDGEMENTS]   (PostgreSQL alone: the rows are made by it)

As `bench.pages` measures. Beside the judgements: a dispute in every hundred comparisons, 200 known answers, 100 batches,
10,000 invitations, 200 projects. What the clock keeps for pages is made first, as it would be; that takes longest.
"""

import sys
import time
from typing import Any

from bench.environment import fresh_django
from bench.pages import AIM_MS, measure

PEOPLE, PROJECTS, INVITATIONS, HANDOUTS, GOLD = 30, 200, 10_000, 100, 200
PAGES = (
    "", "review/", "mine/", "members/", "data/", "gold/", "gold/?show=all", "batches/", "invitations/", "quality/",
    "quality/people/{person}/", "train/", "versions/", "guidelines/history/",
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
        began, again = count()
        print(f"  all counted by the clock in {began:.1f} s, again after one more judgement in {again:.2f} s")
        for url in ("/", *(f"/projects/much/{page.format(person=person)}" for page in PAGES)):
            first, median, queries = measure(url)
            mark = "" if median <= AIM_MS else f"   above {AIM_MS} ms"
            print(f"  {url:<45} {median:6.0f} ms, first {first:6.0f} ms, {queries:3} queries{mark}", flush=True)


def fill(judgements: int) -> int:
    """Returns the id of one of the people."""
    from django.db import connection
    from django.utils import timezone

    from annotate.models import (
        Assignment,
        Comparison,
        Completion,
        Dispute,
        GoldAnswer,
        Handout,
        Invitation,
        Judgement,
        Membership,
        Project,
        Prompt,
        User,
    )

    owner = User.objects.create_user("owner")
    project = Project.objects.create(slug="much", name="Much")
    member = Membership.objects.create(project=project, user=owner, role="owner")
    prompt = Prompt.objects.create(
        project=project, messages=[{"role": "user", "content": "A question?"}], content_hash="0" * 64, split="train"
    )
    first, second = (Completion.objects.create(prompt=prompt, text=f"{side} answer. " * 20) for side in ("One", "Another"))
    pair = Comparison.objects.create(
        project=project, prompt=prompt, first=first, second=second, judgements_required=1, free_places=0, state="done"
    )
    lease = {"comparison": pair, "annotator": owner, "swapped": False, "state": "judged", "expires_at": timezone.now()}
    assignment = Assignment.objects.create(**lease)
    judgement = Judgement.objects.create(assignment=assignment, comparison=pair, annotator=owner, outcome="first", seconds=20.0)
    prompts, base = judgements // 10, 10
    for number in range(PROJECTS):
        other = Project.objects.create(slug=f"project-{number}", name=f"Project {number}")
        Membership.objects.create(project=other, user=owner, role="owner")
    at = f"{base} + n"
    some_prompt, some_person = f"{base} + 1 + n % {prompts}", f"{owner.pk} + 1 + n % {PEOPLE}"
    when = "now() - n * interval '3 seconds'"
    own_id, own_key = "md5('a' || n)::uuid", "md5('k' || n)::uuid"
    multiply(owner, PEOPLE, id=f"{owner.pk} + n", username="'person' || n")
    multiply(member, PEOPLE, user_id=f"{owner.pk} + n", role="'annotator'")
    multiply(prompt, prompts, id=at, content_hash="lpad(n::text, 64, '0')")
    multiply(first, prompts, id=f"{base} + 2 * n", prompt_id=at)
    multiply(second, prompts, id=f"{base} + 2 * n + 1", prompt_id=at)
    sides = {"first_id": f"{base} + 2 * (1 + n % {prompts})", "second_id": f"{base} + 2 * (1 + n % {prompts}) + 1"}
    multiply(pair, judgements, id=at, prompt_id=some_prompt, **sides, created_at=when)
    multiply(assignment, judgements, id=own_id, comparison_id=at, annotator_id=some_person, leased_at=when)
    said = "CASE n % 5 WHEN 0 THEN 'second' ELSE 'first' END"
    multiply(
        judgement, judgements, id=at, key=own_key, assignment_id=own_id, comparison_id=at, annotator_id=some_person, outcome=said,
        seconds="5 + n % 60", created_at=when,
    )  # fmt: skip
    with connection.cursor() as cursor:
        for model in (User, Prompt, Completion, Comparison, Judgement):
            table = model._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        cursor.execute(f"UPDATE annotate_comparison SET purpose = 'gold' WHERE id BETWEEN {base} + 1 AND {base} + {GOLD}")
        cursor.execute(
            "UPDATE annotate_comparison SET state = 'open', free_places = 1, judgements_required = 2 WHERE id % 50 = 7"
        )
    disputed = range(base + 1000, judgements, 100)
    Dispute.objects.bulk_create(Dispute(comparison_id=pk, project=project, disagreement=True) for pk in disputed)
    GoldAnswer.objects.bulk_create(GoldAnswer(comparison_id=base + n, low=1, high=4, by=owner) for n in range(1, GOLD + 1))
    Handout.objects.bulk_create(
        Handout(project=project, number=n, name=f"Batch {n}", size=50, by=owner) for n in range(1, HANDOUTS + 1)
    )
    Invitation.objects.bulk_create(
        Invitation(project=project, number=n, token_sha256=f"{n:064}", by=owner, expires_at=timezone.now())
        for n in range(1, INVITATIONS + 1)
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return owner.pk + 1


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


def count() -> tuple[float, float]:
    """Seconds the clock takes to count all judgements for the quality page, and to count one more."""
    from django.utils import timezone

    from annotate.models import Assignment, Comparison, Judgement, Project, User
    from annotate.quality.counts import count_on

    project, taken = Project.objects.get(slug="much"), []
    for _ in range(2):
        began = time.perf_counter()
        while count_on(project=project):
            pass
        taken.append(time.perf_counter() - began)
        pair, person = Comparison.objects.filter(state="open").last(), User.objects.get(username="owner")
        if len(taken) == 1:
            lease = Assignment.objects.create(
                comparison=pair, annotator=person, swapped=False, state="judged", expires_at=timezone.now()
            )
            Judgement.objects.create(assignment=lease, comparison=pair, annotator=person, outcome="first", seconds=9.0)
    return taken[0], taken[1]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
