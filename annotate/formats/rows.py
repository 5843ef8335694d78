"""What every reader yields: rows in one normal form, and the lines it could not take.

A bad line never stops a file. It becomes a `BadRow` that says where, what, and what to do next.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..models.judgement import Outcome

MAX_LINE_BYTES = 8 * 1024 * 1024
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, half a surrogate pair
BOM = b"\xef\xbb\xbf"
NOT_UTF_8, SAVE_AS_UTF_8 = "Not UTF-8 text", "Save the file as UTF-8."

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
    unit: str = "line"  # what `line` counts: lines of a text, elements of an array, rows of a table

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason} {self.next_step}"


class Unreadable(Exception):
    """Raised inside a reader about one row; the reader turns it into a BadRow with the line's number."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.next_step = next_step


class CannotExpress(Exception):
    """Raised by a writer about something its format has no place for; the text is the reason, to be counted."""


def read_json_lines(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """(line number, object or what is wrong with the line), from 1; blank lines are passed over.

    UTF-8, a byte-order mark at the start is accepted. Holds one line at a time.
    """
    for number, line in numbered_lines(stream):
        if line is None:
            size = f"{MAX_LINE_BYTES // 1024**2} MB"
            yield number, BadRow(number, f"The line is longer than {size}.", "Is it JSON Lines, with one object a line?")
        elif line.strip():
            try:
                yield number, parse_json(line)
            except Unreadable as error:
                yield number, BadRow(number, error.reason, error.next_step)


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        too_long = len(line) > MAX_LINE_BYTES
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 1)  # the rest of it is thrown away
        if number == 1:
            line = line.removeprefix(BOM)
        yield number, None if too_long else line


def parse_json(line: bytes) -> dict[str, Any]:
    """The object that the bytes hold, or Unreadable."""
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise not_utf_8(error) from None
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")  # some of Python's messages end so, others do not
        raise Unreadable(f"Not JSON: {what} at character {error.pos + 1}.", "Correct the line or delete it.") from None
    except (ValueError, RecursionError):
        raise Unreadable("Not JSON that can be read: too deep, or a number too long.", "Correct the line or delete it.") from None
    if not isinstance(row, dict):
        raise Unreadable(f"{_kind(row)} instead of an object.", 'Write {"prompt": …} in braces, one object a line.')
    return row


def not_utf_8(error: UnicodeDecodeError) -> Unreadable:
    """What is wrong with a line that cannot be decoded."""
    return Unreadable(f"{NOT_UTF_8}: byte {error.start + 1} of the line is 0x{error.object[error.start]:02x}.", SAVE_AS_UTF_8)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two equal keys was meant, nobody can tell."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f'The key "{twice:.40}" stands there twice.', "Delete one of them.")
    return found


def _kind(value: Any) -> str:
    names = {list: "A list", str: "A text", bool: "true or false", int: "A number", float: "A number", type(None): "null"}
    return names[type(value)]


def check_text(value: Any, what: str) -> str:
    """The text, if it is one, says something, and can be stored."""
    if not isinstance(value, str):
        raise Unreadable(f"{what} is not a text.", "Write it in quotes; pictures and other parts are not supported.")
    if not value.strip():
        raise Unreadable(f"{what} is empty.", "Fill it in or delete the line.")
    if UNSTORABLE.search(value):
        raise Unreadable(f"{what} holds a character that cannot be stored (NUL or half a surrogate pair).", "Remove it.")
    return value


def each(
    rows: Iterable[tuple[int, dict[str, Any] | BadRow]], parse: Callable[[int, dict[str, Any]], Iterable[PreferenceRow]]
) -> Iterator[PreferenceRow | BadRow]:
    """What `parse` makes of each row: the comparisons with their answers, or what is wrong with the row."""
    for line, row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            found = list(parse(line, row))
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)
        else:
            yield from found


def need(row: dict[str, Any], *names: str) -> list[Any]:
    """The values of these keys; Unreadable if one is not there."""
    for name in names:
        if row.get(name) is None:
            raise Unreadable(f'"{name}" is missing.', f"Each row needs {', '.join(names)}.")
    return [row[name] for name in names]


def check_prompt(value: Any, what: str = "prompt") -> list[Message]:
    """A plain text as the user's message, or messages that end with the user's."""
    if isinstance(value, str):
        return [{"role": "user", "content": check_text(value, what)}]
    messages = check_messages(value, what)
    if messages[-1]["role"] != "user":
        raise Unreadable(f"{what} does not end with the user's message.", "Move what follows it into the answers.")
    return messages


def check_answer(value: Any, what: str) -> str:
    """A plain text as it stands, its leading space included, or the text of one assistant message."""
    if isinstance(value, str):
        return check_text(value, what)
    if isinstance(value, dict):
        value = [value]
    one = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
    if not one or value[0].get("role") != "assistant":
        raise Unreadable(f"{what} is not one assistant message.", f'Write "{what}": [{{"role": "assistant", "content": "…"}}].')
    return check_text(value[0].get("content"), what)


def split_dialogues(a: Any, b: Any, names: tuple[str, str]) -> tuple[list[Message], str, str]:
    """Two whole dialogues that differ in the last answer alone: what they share is the prompt."""
    one, other = (check_messages(value, name) for value, name in zip((a, b), names, strict=True))
    for messages, name in zip((one, other), names, strict=True):
        if messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise Unreadable(f"{name} does not end with the assistant's message after the user's.", "Add the answer.")
    if one[:-1] != other[:-1]:
        raise Unreadable(
            f"{names[0]} and {names[1]} differ before the last answer: they do not answer the same prompt.", "Delete the row."
        )
    return one[:-1], one[-1]["content"], other[-1]["content"]


def check_number(value: Any, what: str, *, default: float = 1.0) -> float:
    """A number of 0 or more; the default when it is missing."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise Unreadable(f"{what} is not a number of 0 or more.", f"Correct it, or leave it out for {default:g}.")
    return value


def kept(row: dict[str, Any], **names: str) -> dict[str, Any]:
    """`meta` of a row: the values that are there, under our names (ours="theirs")."""
    return {ours: row[theirs] for ours, theirs in names.items() if row.get(theirs) not in (None, "")}


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
