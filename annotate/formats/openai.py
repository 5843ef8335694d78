"""OpenAI's format for preference fine-tuning.

    {"input": {"messages": [{"role": "user", "content": "Q"}], "tools": [], "parallel_tool_calls": true},
     "preferred_output": [{"role": "assistant", "content": "A"}], "non_preferred_output": [{"role": "assistant", "content": "B"}]}

A strength other than 1 is written as `margin`; rows without one are OpenAI's to the letter.
"""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.triples import Triple

from ..models.judgement import Outcome
from .rows import PreferenceRow, Unreadable, check_answer, check_number, check_prompt, need

LOOKS_FOR = "input, preferred_output and non_preferred_output"


def rows_of(triple: Triple) -> Iterator[dict[str, Any]]:
    row = {
        "input": {"messages": triple.prompt, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": triple.chosen}],
        "non_preferred_output": [{"role": "assistant", "content": triple.rejected}],
    }
    yield row if triple.strength == 1 else row | {"margin": triple.strength}


def recognises(row: dict[str, Any]) -> bool:
    return "preferred_output" in row and "non_preferred_output" in row


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    given, preferred, other = need(row, "input", "preferred_output", "non_preferred_output")
    if not isinstance(given, dict) or not isinstance(given.get("messages"), list):
        raise Unreadable('"input" has no messages.', 'Write "input": {"messages": [{"role": "user", "content": "…"}]}.')
    messages = [_as_system(message) for message in given["messages"]]
    meta = {"tools": given["tools"]} if given.get("tools") else {}
    yield PreferenceRow(
        line,
        check_prompt(messages, "input.messages"),
        check_answer(preferred, "preferred_output"),
        check_answer(other, "non_preferred_output"),
        Outcome.FIRST,
        check_number(row.get("margin"), "margin"),
        meta,
    )


def _as_system(message: Any) -> Any:
    """OpenAI's newer models call the system message the developer's."""
    if isinstance(message, dict) and message.get("role") == "developer":
        return message | {"role": "system"}
    return message
