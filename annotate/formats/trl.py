"""TRL's preference format, conversational form, as JSON Lines. This is what the trainer reads.

    {"prompt": [{"role": "user", "content": "Q"}],
     "chosen": [{"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "content": "B"}],
     "margin": 1.0, "weight": 1.0, "chosen_truncated": false, "rejected_truncated": true, "id": 17, "judgements": [31, 32]}

`margin` is the triple's strength, `id` its comparison and `judgements` those that made it. A truncated answer was cut at the
generator's token limit; the trainer gives it no end-of-turn token.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TextIO

from ..consensus import Triple
from ..models.judgement import Outcome
from .rows import BadRow, PreferenceRow, Unreadable, check_messages, check_text, read_json_lines


def write(rows: Iterable[Triple], stream: TextIO) -> int:
    """Writes one line per triple, as they come. Returns how many. The same triples give the same bytes."""
    count = 0
    for triple in rows:
        stream.write(json.dumps(_row(triple), ensure_ascii=False) + "\n")
        count += 1
    return count


def _row(triple: Triple) -> dict[str, Any]:
    return {
        "prompt": triple.prompt,
        "chosen": [{"role": "assistant", "content": triple.chosen}],
        "rejected": [{"role": "assistant", "content": triple.rejected}],
        "margin": triple.strength,
        "weight": triple.weight,
        "chosen_truncated": triple.chosen_truncated,
        "rejected_truncated": triple.rejected_truncated,
        "id": triple.comparison_id,
        "judgements": list(triple.judgement_ids),
    }


def read(stream: BinaryIO) -> Iterator[PreferenceRow | BadRow]:
    """Rows with the chosen answer as `a`. Only the conversational form is read so far; others are refused by line."""
    for line, row in read_json_lines(stream):
        try:
            yield row if isinstance(row, BadRow) else _preference(line, row)
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)


def _preference(line: int, row: dict[str, Any]) -> PreferenceRow:
    for name in ("chosen", "rejected"):
        if name not in row:
            raise Unreadable(f'"{name}" is missing.', "Each line needs prompt, chosen and rejected.")
    if "prompt" not in row:
        raise Unreadable(
            'No "prompt": the implicit-prompt form, which is not read yet.', "Move the shared turns into a list named prompt."
        )
    if any(isinstance(row[name], str) for name in ("prompt", "chosen", "rejected")):
        raise Unreadable(
            "The standard form (plain texts) is not read yet.", "Write prompt, chosen and rejected as lists of messages."
        )
    prompt = check_messages(row["prompt"], "prompt")
    if prompt[-1]["role"] != "user":
        raise Unreadable("prompt does not end with the user's message.", "Move what follows it into chosen and rejected.")
    return PreferenceRow(
        line=line,
        prompt=prompt,
        a=_answer(row, "chosen"),
        b=_answer(row, "rejected"),
        outcome=Outcome.FIRST,
        strength=_number(row, "margin"),
        meta={"weight": _number(row, "weight"), "id": row.get("id"), "judgements": row.get("judgements", [])},
    )


def _answer(row: dict[str, Any], name: str) -> str:
    messages = row[name]
    one = isinstance(messages, list) and len(messages) == 1 and isinstance(messages[0], dict)
    if not one or messages[0].get("role") != "assistant":
        raise Unreadable(f"{name} is not one assistant message.", f'Write "{name}": [{{"role": "assistant", "content": "…"}}].')
    return check_text(messages[0].get("content"), name)


def _number(row: dict[str, Any], name: str) -> float:
    value = row.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise Unreadable(f"{name} is not a number of 0 or more.", "Correct it, or leave it out for 1.")
    return value
