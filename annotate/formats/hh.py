r"""Anthropic's HH-RLHF: two transcripts that share everything before the last answer.

    {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}

The space after a colon belongs to the format. There is no system message, and no escape: a text that holds a speaker's mark
itself cannot be written. A strength other than 1 is written as `margin`.
"""

import re
from collections.abc import Iterator
from typing import Any

from annotate.consensus.triples import Triple

from ..models.judgement import Outcome
from .rows import CannotExpress, Message, PreferenceRow, Unreadable, check_messages, check_number, check_text, need

LOOKS_FOR = 'chosen and rejected as texts that begin with "\\n\\nHuman:"'
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
SPEAKER = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
MARKS = {"user": HUMAN, "assistant": ASSISTANT}


def rows_of(triple: Triple) -> Iterator[dict[str, Any]]:
    if triple.prompt[0]["role"] == "system":
        raise CannotExpress("HH transcripts have no system message")
    texts = [*(message["content"] for message in triple.prompt), triple.chosen, triple.rejected]
    if any(SPEAKER.search(text) for text in texts):
        raise CannotExpress("a text holds “Human:” or “Assistant:” as a paragraph's start")
    start = "".join(f"{MARKS[message['role']]} {message['content']}" for message in triple.prompt) + ASSISTANT
    row = {"chosen": f"{start} {triple.chosen}", "rejected": f"{start} {triple.rejected}"}
    yield row if triple.strength == 1 else row | {"margin": triple.strength}


def recognises(row: dict[str, Any]) -> bool:
    sides = (row.get("chosen"), row.get("rejected"))
    return all(isinstance(side, str) and side.lstrip("\n").startswith("Human:") for side in sides)


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    chosen, rejected = need(row, "chosen", "rejected")
    start, better = _cut(chosen, "chosen")
    other_start, worse = _cut(rejected, "rejected")
    if start != other_start:
        raise Unreadable(
            "chosen and rejected differ before the last answer: they do not answer the same prompt.", "Delete the row."
        )
    yield PreferenceRow(line, _prompt(start), better, worse, Outcome.FIRST, check_number(row.get("margin"), "margin"), {})


def _cut(text: Any, name: str) -> tuple[str, str]:
    if not isinstance(text, str) or ASSISTANT not in text:
        raise Unreadable(f"{name} has no answer of the assistant.", 'Write "\\n\\nHuman: …\\n\\nAssistant: …".')
    start, _, answer = text.rpartition(ASSISTANT)
    return start, check_text(answer.removeprefix(" "), f"The last answer of {name}")


def _prompt(start: str) -> list[Message]:
    before, *parts = SPEAKER.split(start)
    if before.strip() or not parts:
        raise Unreadable("The transcript does not begin with Human.", 'Begin it with "\\n\\nHuman: …".')
    turns = zip(parts[::2], parts[1::2], strict=True)
    messages = check_messages(
        [{"role": ROLES[name], "content": content.removeprefix(" ")} for name, content in turns], "the transcript"
    )
    if messages[-1]["role"] != "user":
        raise Unreadable("The last answer does not follow a turn of Human.", "Delete the row.")
    return messages
