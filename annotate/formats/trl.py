"""TRL's preference format, as JSON Lines. What is written is its conversational form; this is what the trainer reads.

    {"prompt": [{"role": "user", "content": "Q"}],
     "chosen": [{"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "content": "B"}],
     "margin": 1.0, "weight": 1.0, "chosen_truncated": false, "rejected_truncated": true, "id": 17, "judgements": [31, 32]}

`margin` is the triple's strength, `id` its comparison and `judgements` those that made it; `settled` is the decision of a
manager that did, where there is one, and `edited` is true where an annotator wrote the chosen answer; `tie` is true where neither
was preferred (only in a dataset made for a loss that learns from ties). A truncated answer was cut at the generator's token
limit; the trainer gives it no end-of-turn token.

Read besides: the standard form (plain texts; a leading space of an answer belongs to it) and the implicit-prompt form, in
which both sides hold the whole dialogue: what they share is the prompt.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TextIO

from annotate.consensus.triples import Triple

from ..models.judgement import Outcome
from .files import read_objects
from .rows import BadRow, PreferenceRow, Unreadable, check_answer, check_number, check_prompt, check_text, each, split_dialogues

LOOKS_FOR = "chosen and rejected, with or without prompt"


def write(rows: Iterable[Triple], stream: TextIO) -> int:
    """Writes one line per triple, as they come. Returns how many. The same triples give the same bytes."""
    count = 0
    for triple in rows:
        for row in rows_of(triple):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    return count


def rows_of(triple: Triple) -> Iterator[dict[str, Any]]:
    row = {
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
    told = {"settled": triple.settled_by, "edited": triple.edited, "tie": triple.tie}
    yield row | {name: value for name, value in told.items() if value}


def read(stream: BinaryIO) -> Iterator[PreferenceRow | BadRow]:
    """Rows with the chosen answer as `a`."""
    return each(read_objects(stream), parse)


def recognises(row: dict[str, Any]) -> bool:
    return "chosen" in row and "rejected" in row


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    for name in ("chosen", "rejected"):
        if name not in row:
            raise Unreadable(f'"{name}" is missing.', "Each line needs chosen and rejected, and mostly prompt.")
    prompt, chosen, rejected = _explicit(row) if row.get("prompt") is not None else _implicit(row)
    meta = {"weight": check_number(row.get("weight"), "weight"), "id": row.get("id"), "judgements": row.get("judgements", [])}
    meta |= {name: row[name] for name in ("tools", "chat_template_kwargs") if row.get(name)}
    margin = check_number(row.get("margin"), "margin")
    outcome = Outcome.TIE if row.get("tie") is True else Outcome.FIRST
    yield PreferenceRow(line, prompt, chosen, rejected, outcome, margin if outcome == Outcome.FIRST else 0.0, meta)


def _explicit(row: dict[str, Any]) -> tuple[list[dict[str, str]], str, str]:
    kinds = {isinstance(row[name], str) for name in ("prompt", "chosen", "rejected")}
    if len(kinds) > 1:
        raise Unreadable(
            "Plain texts and messages are mixed.", "Write prompt, chosen and rejected all as texts, or all as messages."
        )
    return check_prompt(row["prompt"]), check_answer(row["chosen"], "chosen"), check_answer(row["rejected"], "rejected")


def _implicit(row: dict[str, Any]) -> tuple[list[dict[str, str]], str, str]:
    chosen, rejected = row["chosen"], row["rejected"]
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return split_dialogues(chosen, rejected, ("chosen", "rejected"))
    end = next((n for n, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
    if end is None:
        end = min(len(chosen), len(rejected))
    if end and chosen[end - 1] == " ":  # as TRL cuts it: the space before a word belongs to the answer
        end -= 1
    return (
        [{"role": "user", "content": check_text(chosen[:end], "What chosen and rejected share (the prompt)")}],
        check_text(chosen[end:], "chosen, after what both share,"),
        check_text(rejected[end:], "rejected, after what both share,"),
    )
