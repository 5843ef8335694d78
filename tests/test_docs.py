"""README and docs/ are read as Markdown."""

import re

import pytest
from django.conf import settings

PAGES = sorted([settings.BASE_DIR / "README.md", *(settings.BASE_DIR / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_of_a_table_stands_below_a_head(page):
    """A blank line ends a table: the rows after it would be shown as bars and words."""
    for block in re.split(r"\n\s*\n", page.read_text(encoding="utf-8")):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("| "):
            assert len(lines) > 1 and re.fullmatch(r"[|:\- ]+", lines[1]), lines[0]
