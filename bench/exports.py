"""What an export holds in memory, however long the history: `python -m tests.postgres python -m bench.exports [JUDGEMENTS]`.

A project filled as for `bench.lists` (PostgreSQL alone: the rows are made by it) is exported with `manage.py
export_preferences`, in a process of its own, whose most bytes are told above those of a command that does nothing.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.files import ROOT, manage, told

FORMATS = ("judgements", "trl")
FILL = """
import sys, django
django.setup()
from bench.lists import fill
fill(int(sys.argv[1]))
"""


def main(judgements: int) -> None:
    if "postgres" not in os.environ.get("DATABASE_URL", ""):
        sys.exit("Run it under PostgreSQL: python -m tests.postgres python -m bench.exports")
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as directory:
        os.environ.update(VAR_DIR=directory, LOG_LEVEL="WARNING", DJANGO_SETTINGS_MODULE="config.settings")
        manage("migrate", "--verbosity", "0")
        subprocess.run([sys.executable, "-c", FILL, str(judgements)], cwd=ROOT, check=True)
        _, _, idle = manage("check")
        for name in FORMATS:
            output = Path(directory) / f"out.{name}.jsonl"
            ran = manage("export_preferences", "--project", "much", "--format", name, "--output", str(output))
            told(f"{judgements:,} judgements as {name}, {output.stat().st_size / 1e6:.0f} MB", *ran, idle)
            output.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
