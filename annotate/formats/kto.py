"""TRL's unpaired format for KTO: one answer a row, good (`label` true) or not.

    {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}], "label": true,
     "judgement": "…", "strength": 2}

A judgement writes two rows: the better answer true, the worse false; a tie two true, both bad two false. A rating of a single
answer writes one, with `rating` in the place of `judgement`. Read, `judgement` brings two together again; `read_single` keeps
every row by itself. Rows of others are paired where the same prompt has an answer of either label, or two bad ones
in a row; an answer that stays alone is reported, since nothing was compared with it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from annotate.consensus.judged import JudgedComparison
from annotate.consensus.singles import Single
from annotate.judging.ratings import RatedAnswer

from ..models.judgement import Outcome
from ..models.prompt import content_hash
from .rows import BadRow, Message, PreferenceRow, Unreadable, check_answer, check_number, check_prompt, kept, need

LOOKS_FOR = "completion and label (true or false), beside prompt"
WAITING = 5000  # answers held until their other half comes

LABELS = {
    Outcome.FIRST: (True, False),
    Outcome.SECOND: (False, True),
    Outcome.TIE: (True, True),
    Outcome.BOTH_BAD: (False, False),
}
OUTCOMES = {labels: outcome for outcome, labels in LABELS.items()}


def rows_of(comparison: JudgedComparison | RatedAnswer) -> Iterator[dict[str, Any]]:
    if isinstance(comparison, RatedAnswer):
        yield {
            "prompt": comparison.prompt,
            "completion": [{"role": "assistant", "content": comparison.text}],
            "label": comparison.good,
            "rating": comparison.key,
            "annotator": comparison.annotator,
        }
        return
    for answer in comparison.answers:
        labels = LABELS[answer.outcome]
        for text, label in zip((comparison.first, comparison.second), labels, strict=True):
            yield {
                "prompt": comparison.prompt,
                "completion": [{"role": "assistant", "content": text}],
                "label": label,
                "judgement": answer.key,
                "strength": answer.strength,
                "annotator": answer.annotator,
            }


def row_of_single(single: Single) -> dict[str, Any]:
    """What the trainer reads beside triples: `completion_truncated` as in trl.py, and what it was made from."""
    return {
        "prompt": single.prompt,
        "completion": [{"role": "assistant", "content": single.text}],
        "label": single.good,
        "completion_truncated": single.truncated,
        "judgements": list(single.judgement_ids),
        "ratings": list(single.rating_ids),
    }


@dataclass(frozen=True, slots=True)
class RatedRow:
    """One answer by itself, and whether it is good."""

    line: int
    prompt: list[Message]
    text: str
    good: bool
    model: str = ""
    annotator: str = ""


def read_single(rows: Iterable[tuple[int, dict[str, Any] | BadRow]]) -> Iterator[RatedRow | BadRow]:
    """Every row by itself: nothing is paired."""
    for line, row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            half = _half(line, row)
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)
            continue
        yield RatedRow(line, half.prompt, half.text, half.label, str(row.get("model") or ""), str(row.get("annotator") or ""))


def recognises(row: dict[str, Any]) -> bool:
    return "completion" in row and "label" in row


@dataclass(frozen=True, slots=True)
class _Half:
    line: int
    prompt: list[Message]
    text: str
    label: bool
    strength: float
    meta: dict[str, Any]


def read_rows(rows: Iterable[tuple[int, dict[str, Any] | BadRow]]) -> Iterator[PreferenceRow | BadRow]:
    waiting: OrderedDict[tuple, _Half] = OrderedDict()
    for line, row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            half = _half(line, row)
        except Unreadable as error:
            yield BadRow(line, error.reason, error.next_step)
            continue
        if row.get("rating"):
            yield BadRow(
                line, "It is a rating of one answer by itself.", "Import the file once more, keeping each answer by itself."
            )
            continue
        key = _key(half, row)
        other = next((waiting.pop(found) for found in _partners(key, half) if found in waiting), None)
        two_bad_in_a_row = other and not half.label and other.line == line - 1
        if other and (key[0] == "judgement" or other.label != half.label or two_bad_in_a_row):
            yield _joined(other, half)
            continue
        if other:
            yield _alone(other)
        waiting[key] = half
        if len(waiting) > WAITING:
            yield _alone(waiting.popitem(last=False)[1])
    yield from (_alone(half) for half in waiting.values())


def _half(line: int, row: dict[str, Any]) -> _Half:
    prompt, completion, label = need(row, "prompt", "completion", "label")
    if not isinstance(label, bool):
        raise Unreadable("label is neither true nor false.", "Correct it.")
    strength = check_number(row.get("strength"), "strength")
    meta = kept(row, annotator="annotator", id="id", tools="tools")
    return _Half(line, check_prompt(prompt), check_answer(completion, "completion"), label, strength, meta)


def _key(half: _Half, row: dict[str, Any]) -> tuple:
    if row.get("judgement") not in (None, ""):
        return ("judgement", str(row["judgement"]))
    return ("prompt", content_hash(half.prompt), half.label)


def _partners(key: tuple, half: _Half) -> list[tuple]:
    if key[0] == "judgement":
        return [key]
    return [(*key[:2], not half.label), key]


def _joined(a: _Half, b: _Half) -> PreferenceRow:
    outcome = OUTCOMES[a.label, b.label]
    strength = a.strength if outcome in (Outcome.FIRST, Outcome.SECOND) else 0
    return PreferenceRow(a.line, a.prompt, a.text, b.text, outcome, strength, a.meta)


def _alone(half: _Half) -> BadRow:
    return BadRow(half.line, "This answer stands alone.", "Put an answer to the same prompt with the other label near it.")
