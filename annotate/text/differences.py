"""What changed between two texts, line by line, with the words that differ marked within a changed line."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

WORDS = re.compile(r"\s+|\w+|[^\w\s]")
CONTEXT = 2  # unchanged lines that are shown on each side of a change
MOST_LINES = 3000  # of both texts together; with more, comparing takes time that grows as their square
LONGEST_LINE = 2000  # characters; in longer lines no words are marked


@dataclass(frozen=True, slots=True)
class Line:
    """`kind` is "same", "added", "removed" or "left_out" (then `count` unchanged lines are not shown).

    `parts` are its text in order; where the flag is true, that part differs from the line it replaces or is replaced by.
    """

    kind: str
    parts: tuple[tuple[str, bool], ...] = ()
    count: int = 0

    @property
    def sign(self) -> str:
        return {"added": "+", "removed": "−"}.get(self.kind, "")


def compare_texts(before: str, after: str) -> list[Line]:
    """The lines of `after`, amid those of `before` that are gone. Nothing when the two are the same."""
    old, new = before.splitlines(), after.splitlines()
    if old == new:
        return []
    if len(old) + len(new) > MOST_LINES:
        return [_plain("removed", line) for line in old] + [_plain("added", line) for line in new]
    lines: list[Line] = []
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for index, (kind, old_from, old_to, new_from, new_to) in enumerate(blocks):
        if kind == "equal":
            lines += _context(old[old_from:old_to], first=index == 0, last=index == len(blocks) - 1)
        else:
            lines += _changed(old[old_from:old_to], new[new_from:new_to])
    return lines


def _plain(kind: str, line: str) -> Line:
    return Line(kind, ((line, False),))


def _context(lines: list[str], *, first: bool, last: bool) -> list[Line]:
    head = 0 if first else CONTEXT
    tail = 0 if last else CONTEXT
    if len(lines) <= head + tail + 1:
        return [_plain("same", line) for line in lines]
    left_out = Line("left_out", count=len(lines) - head - tail)
    shown_after = lines[len(lines) - tail :]
    return [_plain("same", line) for line in lines[:head]] + [left_out] + [_plain("same", line) for line in shown_after]


def _changed(old: list[str], new: list[str]) -> list[Line]:
    """Lines that take each other's place in pairs, so that their words can be compared; then the rest."""
    if len(old) != len(new):
        return [_plain("removed", line) for line in old] + [_plain("added", line) for line in new]
    pairs = [_words(one, other) for one, other in zip(old, new, strict=True)]
    return [Line("removed", one) for one, _ in pairs] + [Line("added", other) for _, other in pairs]


def _words(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    if max(len(old), len(new)) > LONGEST_LINE:
        return ((old, False),), ((new, False),)
    one, other = WORDS.findall(old), WORDS.findall(new)
    removed, added = [], []
    for kind, i, j, k, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if j > i:
            removed.append(("".join(one[i:j]), kind != "equal"))
        if m > k:
            added.append(("".join(other[k:m]), kind != "equal"))
    return tuple(removed), tuple(added)
