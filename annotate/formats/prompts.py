"""Prompts: `messages`, or `prompt`/`instruction`/`question`, with optional `system`, `tags`, `id`.

As JSON Lines, a JSON array, Parquet or CSV with these names, or as plain text, one prompt a line; plain, gzip or zstd.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from .files import is_text, open_plain, read_objects
from .rows import BadRow, Message, PromptRow, Unreadable, check_messages, check_text
from .tables import read_table

NAMES = ("messages", "prompt", "instruction", "question")  # the first of them that a row has is its prompt
MAX_CHARACTERS = 20_000
MAX_TAGS, MAX_TAG_CHARACTERS = 20, 50


def read(stream: BinaryIO) -> Iterator[PromptRow | BadRow]:
    """Each line as a prompt that ends with the user's message, or what is wrong with it and what to do."""
    for line, row in _rows(stream):
        try:
            yield row if isinstance(row, BadRow) else _prompt(line, row)
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)


def _rows(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    if not is_text(stream):
        yield from read_objects(stream)
        return
    for line, row in read_table(open_plain(stream), NAMES, "prompt"):
        yield line, row if isinstance(row, BadRow) else _from_cells(row)


def _from_cells(row: dict[str, str]) -> dict[str, Any]:
    """What a table can only hold as text: tags between commas, messages as JSON. An empty cell of these is none."""
    cells: dict[str, Any] = {name: text for name, text in row.items() if text or name in NAMES}
    if "tags" in cells:
        cells["tags"] = [tag.strip() for tag in row["tags"].split(",") if tag.strip()]
    if row.get("messages", "").startswith("["):
        try:
            cells["messages"] = json.loads(row["messages"])
        except (ValueError, RecursionError):
            cells["messages"] = None
    return cells


def _prompt(line: int, row: dict[str, Any]) -> PromptRow:
    messages = _messages(row)
    if messages[-1]["role"] != "user":
        raise Unreadable("The prompt does not end with the user's message.", "Cut off what follows it.")
    length = sum(len(message["content"]) for message in messages)
    if length > MAX_CHARACTERS:
        raise Unreadable(f"The prompt has {length:,} characters; {MAX_CHARACTERS:,} are allowed.", "Shorten or split it.")
    return PromptRow(line=line, messages=messages, tags=_tags(row), id=_id(row))


def _messages(row: dict[str, Any]) -> list[Message]:
    name = next((name for name in NAMES if row.get(name) is not None), None) or next((n for n in NAMES if n in row), None)
    if name is None:
        raise Unreadable("There is no prompt.", f"Name it one of: {', '.join(NAMES)}.")
    value = row[name]
    if isinstance(value, str):
        content = check_text(value, name)
        if name == "instruction" and row.get("input"):  # Alpaca's form: what the instruction is about
            content += "\n\n" + check_text(row["input"], "input")
        messages = [{"role": "user", "content": content}]
    else:
        messages = check_messages(value, name)
    if row.get("system") in (None, ""):
        return messages
    if messages[0]["role"] == "system":
        raise Unreadable("There are two system messages: one in the messages and one beside them.", "Delete one of them.")
    return [{"role": "system", "content": check_text(row["system"], "system")}, *messages]


def _tags(row: dict[str, Any]) -> list[str]:
    tags = row.get("tags") or []
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise Unreadable(f"tags is not a list of at most {MAX_TAGS}.", 'Write "tags": ["one", "two"].')
    for tag in tags:
        if len(check_text(tag, "A tag")) > MAX_TAG_CHARACTERS:
            raise Unreadable(f"A tag is longer than {MAX_TAG_CHARACTERS} characters.", "Shorten it.")
    return tags


def _id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unreadable("id is neither a text nor a whole number.", "Correct it or leave it out.")
    return check_text(str(value), "id")
