"""The demo project's prompts, as they are in the repository."""

import json

from django.conf import settings

from annotate.models.prompt import Split, content_hash
from training.management.commands.set_up import DEMO, SYSTEM_PROMPT


def test_two_hundred_different_prompts_a_fifth_of_them_held_out() -> None:
    rows = [json.loads(line) for line in (DEMO / "prompts.jsonl").read_text().splitlines()]
    assert DEMO.is_relative_to(settings.BASE_DIR)
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 200
    splits = [
        Split.of(content_hash([{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": row["prompt"]}]))
        for row in rows
    ]
    assert 30 <= splits.count(Split.HELDOUT) <= 50
