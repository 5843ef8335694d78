"""A leaderboard of real battles: what its import and its count take, and whether its win rates are those of the file.

    python -m bench.leaderboard [FILE]                            SQLite
    python -m tests.postgres python -m bench.leaderboard [FILE]   PostgreSQL

FILE is in AlpacaEval's form. Each pair counts once, however often the file has it.
"""

import gzip
import json
import sys
import time
from collections import Counter
from pathlib import Path

from bench.environment import fresh_django

SHARED = Path(__file__).parents[2] / "shared" / "data"
PAIR = ("instruction", "generator_1", "output_1", "generator_2", "output_2")
OUTCOMES = {1.0: "lost", 2.0: "won"}  # of the second; anything else is a tie


def main(path: Path) -> None:
    with fresh_django() as vendor:
        from annotate.data.imports import import_preferences
        from annotate.models import Project
        from training.leaderboard.counting import count_leaderboard, rows_of

        project = Project.objects.create(slug="battles", name="Battles")
        began = time.perf_counter()
        with path.open("rb") as stream:
            report = import_preferences(project=project, stream=stream, file_name=path.name)
        imported = time.perf_counter() - began
        leaderboard = count_leaderboard(project=project)
        print(f"{vendor}: import of {report.batch.judgements:,} judgements {imported:.1f} s, fit {leaderboard.seconds:.1f} s")

        rows = rows_of(leaderboard)
        counted = count(path)
        wrong = [row.name for row in rows if row.name in counted and counted[row.name] != (row.wins, row.ties, row.losses)]
        print(f"  {len(rows)} authors; win rates counted from the file differ for {len(wrong)} of {len(counted)}: {wrong[:5]}")
        for row in (*rows[:3], *rows[-2:]):
            print(f"  {row.rank:>3} {row.name[:34]:34} {row.rating:6.0f} ({row.low:.0f} to {row.high:.0f}) {row.win_rate:.1%}")


def count(path: Path) -> dict[str, tuple[int, int, int]]:
    """Of each second author: how often it won, tied and lost."""
    first: dict[tuple[str, ...], dict] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            first.setdefault(tuple(str(row[key]).strip() for key in PAIR), row)
    found: Counter[tuple[str, str]] = Counter()
    for row in first.values():
        if all(str(row[key]).strip() for key in PAIR):
            found[row["generator_2"], OUTCOMES.get(row["preference"], "tied")] += 1
    names = {name for name, _ in found}
    return {name: tuple(found[name, outcome] for outcome in ("won", "tied", "lost")) for name in names}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED / "alpaca_battles.jsonl.gz")
