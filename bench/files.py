"""A large file in and out: seconds, and memory above that of a command that does nothing.

    python -m bench.files                              SQLite
    python -m tests.postgres python -m bench.files     PostgreSQL

`alpaca_battles.jsonl.gz` (23,788 rows) is imported with `manage.py import_preferences` and exported in three formats, each in a
process of its own, as a user would.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATTLES = ROOT.parent / "shared" / "data" / "alpaca_battles.jsonl.gz"
FORMATS = ("judgements", "trl", "arena")
ONE_PROMPT = '{"prompt": "A first one, for the project to be made with."}\n'


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as directory:
        os.environ.update(VAR_DIR=directory, LOG_LEVEL="WARNING")
        prompts = Path(directory) / "prompts.jsonl"
        prompts.write_text(ONE_PROMPT)
        manage("migrate", "--verbosity", "0")
        manage("createsuperuser", "--noinput", "--username", "owner", "--email", "owner@example.org")
        manage("import_prompts", str(prompts), "--project", "files", "--create-project", "Files", "--owner", "owner")
        _, _, idle = manage("check")
        told("import", *manage("import_preferences", str(BATTLES), "--project", "files"), idle)
        for name in FORMATS:
            output = Path(directory) / f"out.{name}.jsonl"
            ran = manage("export_preferences", "--project", "files", "--format", name, "--output", str(output))
            told(f"export as {name}, {output.stat().st_size / 1e6:.0f} MB", *ran, idle)


def told(what: str, seconds: float, processor: float, most: int, idle: int) -> None:
    print(f"{what}: {seconds:.1f} s, {processor:.1f} s of processor, {(most - idle) / 1e6:.0f} MB above idle", flush=True)


def manage(*words: str) -> tuple[float, float, int]:
    """Seconds by the clock and of the processor, and the most bytes it held: this process is small, so they are the child's."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "manage.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"manage.py {' '.join(words)} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


if __name__ == "__main__":
    main()
