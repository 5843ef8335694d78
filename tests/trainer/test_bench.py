"""The trainer's benchmarks run on a machine that has neither Django nor trained weights, and add up."""

import subprocess
import sys

import pytest

from .conftest import ROOT

# A tiny model and two cases; neither Django nor anything but torch and transformers may be asked for.
SCALING = """
import sys
sys.modules["django"] = sys.modules["annotate"] = sys.modules["peft"] = None
from bench.trainer import scaling
scaling.SERIES = {"vocabulary": [scaling.Case(f"{size} words", 2, (8, 4, 4), size) for size in (600, 1200)]}
sys.argv = ["scaling", "--size", "tiny", "--rounds", "1", "--device", "cpu"]
scaling.main()
"""
ABLATION = """
import sys
sys.modules["django"] = sys.modules["annotate"] = sys.modules["peft"] = None
from bench.trainer import ablation
sys.argv = ["ablation", "--size", "tiny", "--pairs", "3", "--lengths", "8", "4", "4", "--rounds", "1", "--device", "cpu"]
ablation.main()
"""
SCORING = """
import sys
sys.modules["django"] = sys.modules["annotate"] = sys.modules["peft"] = None
from bench.trainer import scoring
sys.argv = ["scoring", "--size", "tiny", "--pairs", "4", "--lengths", "8", "4", "4", "--rounds", "1", "--device", "cpu"]
scoring.main()
"""
AGAINST = """
import sys
sys.modules["django"] = sys.modules["annotate"] = sys.modules["peft"] = None
from bench.trainer import __main__ as against
sys.argv = ["against", "--size", "tiny", "--pairs", "8", "--lengths", "8", "4", "4", "--rounds", "1", "--only", "ours, float32"]
against.main()
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (SCALING, "| 1200 words | 14 |"),
        (ABLATION, "layers computed again"),
        (SCORING, "| scoring |"),
        (AGAINST, "| 1.00 | 0."),  # s/pair as a ratio to itself, and GB
    ],
)
def test_it_runs_without_the_web_application(code: str, words: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout, done.stdout
