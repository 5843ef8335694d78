"""docs/pitfalls.md names tests: they are there, and each fault has one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = [line for line in (ROOT / "docs" / "pitfalls.md").read_text().splitlines() if re.match(r"\| (?!fault|---)", line)]


def test_each_fault_names_tests_that_exist():
    assert len(ROWS) > 30
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"
