"""What a claim with its judgement costs, by the number of open comparisons: it should not depend on it.

    python -m bench.claims [SIZE …]                            SQLite
    python -m tests.postgres python -m bench.claims [SIZE …]   PostgreSQL

Each size is a project of its own in one database, with evaluation pairs (one in ten), gold (one in fifty) and the shares a
project has unless it is told otherwise; the annotator claims and judges in turn, so that sizes are measured side by side.
Figures are medians; the ratio is against the smallest size. A million comparisons take some minutes to be made.
"""

import statistics
import sys
import time
import uuid
from itertools import islice

from bench.environment import fresh_django

ROUNDS = 200
BATCH = 2_000


def main(sizes: list[int]) -> None:
    with fresh_django() as vendor:
        seconds = measure(sizes)
    print(f"{vendor}: claim and judgement, median of {ROUNDS}, with shares of gold, evaluation and chance")
    for size in sizes:
        median = statistics.median(seconds[size])
        print(f"  {size:>9,} open comparisons: {1000 * median:6.2f} ms, × {median / statistics.median(seconds[sizes[0]]):.2f}")


def measure(sizes: list[int]) -> dict[int, list[float]]:
    from django.db import connection

    from annotate.judging.judgements import record_judgement
    from annotate.models import Membership, Project, User
    from annotate.queue.claims import claim_comparison

    annotator = User.objects.create_user("annotator")
    projects = {}
    for size in sizes:
        projects[size] = Project.objects.create(slug=f"p{size}", name=f"{size} comparisons")
        Membership.objects.create(project=projects[size], user=annotator, role="annotator")
        fill(projects[size], size)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size in sizes:
            began = time.perf_counter()
            assignment = claim_comparison(project=projects[size], annotator=annotator)
            assert assignment is not None
            record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a", seconds=1.0)
            seconds[size].append(time.perf_counter() - began)
    return seconds


def fill(project: object, size: int) -> None:
    from django.db import transaction

    from annotate.models import Comparison, Completion, Prompt

    prompt = Prompt.objects.create(
        project=project, messages=[{"role": "user", "content": "?"}], content_hash="0" * 64, split="train"
    )
    numbers = iter(range(size))
    while batch := list(islice(numbers, BATCH)):
        with transaction.atomic():
            texts = [Completion(prompt=prompt, text=f"answer {number}{side}") for number in batch for side in "ab"]
            made = Completion.objects.bulk_create(texts, batch_size=BATCH)
            Comparison.objects.bulk_create(
                [
                    Comparison(
                        project=project, prompt=prompt, first=made[2 * place], second=made[2 * place + 1],
                        priority=float(number % 7), round=number % 3, judgements_required=1, free_places=1,
                        purpose="gold" if number % 50 == 49 else "evaluate" if number % 10 == 9 else "train",
                    )
                    for place, number in enumerate(batch)
                ],
                batch_size=BATCH,
            )  # fmt: skip


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1_000, 10_000, 100_000])
