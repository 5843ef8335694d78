"""What every reader yields: rows in one normal form, and the lines it could not take.

A bad line never stops a file. It becomes a `BadRow` that says where, what, and what to do next.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..models.judgement import Outcome

MAX_LINE_BYTES = 8 * 1024 * 1024
BOM = b"\xef\xbb\xbf"

Message = dict[str, str]


@dataclass(frozen=True)
class PromptRow:
    line: int
    messages: list[Message]
    tags: list[str] = field(default_factory=list)
    id: str = ""


@dataclass(frozen=True)
class PreferenceRow:
    """A comparison with its answer. `outcome` is about `a` (first) and `b` (second)."""

    line: int
    prompt: list[Message]
    a: str
    b: str
    outcome: Outcome
    strength: float
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    line: int
    reason: str
    next_step: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason} {self.next_step}"


class Unreadable(Exception):
    """Raised inside a reader about one row; the reader turns it into a BadRow with the line's number."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.next_step = next_step


def read_json_lines(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """(line number, object or what is wrong with the line), from 1; blank lines are passed over.

    UTF-8, a byte-order mark at the start is accepted. Holds one line at a time.
    """
    for number, line in _numbered_lines(stream):
        if line is None:
            size = f"{MAX_LINE_BYTES // 1024**2} MB"
            yield number, BadRow(number, f"The line is longer than {size}.", "Is it JSON Lines, with one object a line?")
        elif line.strip():
            try:
                yield number, _parse(line)
            except Unreadable as error:
                yield number, BadRow(number, error.reason, error.next_step)


def _numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        too_long = len(line) > MAX_LINE_BYTES
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 1)  # the rest of it is thrown away
        if number == 1:
            line = line.removeprefix(BOM)
        yield number, None if too_long else line


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"Not UTF-8 text: byte {error.start + 1} of the line is 0x{line[error.start]:02x}.", "Save the file as UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"Not JSON: {error.msg} at character {error.pos + 1}.", "Correct the line or delete it.") from None
    except (ValueError, RecursionError):
        raise Unreadable("Not JSON that can be read: too deep, or a number too long.", "Correct the line or delete it.") from None
    if not isinstance(row, dict):
        raise Unreadable(f"{_kind(row)} instead of an object.", 'Write {"prompt": …} in braces, one object a line.')
    return row


def _kind(value: Any) -> str:
    names = {list: "A list", str: "A text", bool: "true or false", int: "A number", float: "A number", type(None): "null"}
    return names[type(value)]


def check_text(value: Any, what: str) -> str:
    """The text, if it is one, says something, and can be stored."""
    if not isinstance(value, str):
        raise Unreadable(f"{what} is not a text.", "Write it in quotes; pictures and other parts are not supported.")
    if not value.strip():
        raise Unreadable(f"{what} is empty.", "Fill it in or delete the line.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Unreadable(f"{what} holds a character that cannot be stored (NUL or half a surrogate pair).", "Remove it.")
    return value


def check_messages(value: Any, what: str) -> list[Message]:
    """The messages as plain {role, content}: an optional system message, then user and assistant in turn."""
    if not isinstance(value, list) or not value:
        raise Unreadable(f"{what} is not a list of messages.", 'Write [{"role": "user", "content": "…"}].')
    messages = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise Unreadable(f"Message {number} of {what} lacks a role or content.", 'Write {"role": "user", "content": "…"}.')
        messages.append({"role": message["role"], "content": check_text(message["content"], f"Message {number} of {what}")})
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    for number, (message, expected) in enumerate(zip(turns, ["user", "assistant"] * len(turns), strict=False), 1):
        if message["role"] != expected:
            raise Unreadable(
                f"Turn {number} of {what} has the role {message['role']!r:.40} where {expected!r} is due.",
                "Roles are: system (once, first, or not at all), then user and assistant in turn.",
            )
    return messages
