"""`make bench`: every benchmark, one after the other. Each prints ratios within its own run; machines are noisy.

One alone: `python -m bench.claims`. Results belong into docs/experiments.md with the command and the commit.
"""

import subprocess
import sys

BENCHMARKS = [
    ["-m", "bench.claims"],
    ["-m", "tests.postgres", sys.executable, "-m", "bench.claims"],
    ["-m", "bench.annotators"],
    ["-m", "tests.postgres", sys.executable, "-m", "bench.annotators"],
    ["-m", "bench.compare_page"],
    ["-m", "bench.sampling"],
    ["-m", "bench.pages"],
    ["-m", "bench.files"],
    ["-m", "tests.postgres", sys.executable, "-m", "bench.files"],
    ["-m", "tests.postgres", sys.executable, "-m", "bench.lists"],
]

if __name__ == "__main__":
    for benchmark in BENCHMARKS:
        print(f"\n$ python {' '.join(word for word in benchmark if word != sys.executable)}", flush=True)
        subprocess.run([sys.executable, *benchmark], check=True)
