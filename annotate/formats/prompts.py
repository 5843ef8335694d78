"""Prompts as JSON Lines: `messages`, or `prompt`/`instruction`/`question`, with optional `system`, `tags`, `id`."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from .rows import BadRow, Message, PromptRow, Unreadable, check_messages, check_text, read_json_lines

NAMES = ("messages", "prompt", "instruction", "question")  # the first of them that a row has is its prompt
MAX_CHARACTERS = 20_000
MAX_TAGS, MAX_TAG_CHARACTERS = 20, 50


def read(stream: BinaryIO) -> Iterator[PromptRow | BadRow]:
    """Each line as a prompt that ends with the user's message, or what is wrong with it and what to do."""
    for line, row in read_json_lines(stream):
        try:
            yield row if isinstance(row, BadRow) else _prompt(line, row)
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)


def _prompt(line: int, row: dict[str, Any]) -> PromptRow:
    messages = _messages(row)
    if messages[-1]["role"] != "user":
        raise Unreadable("The prompt does not end with the user's message.", "Cut off what follows it.")
    length = sum(len(message["content"]) for message in messages)
    if length > MAX_CHARACTERS:
        raise Unreadable(f"The prompt has {length:,} characters; {MAX_CHARACTERS:,} are allowed.", "Shorten or split it.")
    return PromptRow(line=line, messages=messages, tags=_tags(row), id=_id(row))


def _messages(row: dict[str, Any]) -> list[Message]:
    name = next((name for name in NAMES if name in row), None)
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
