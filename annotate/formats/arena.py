"""Chatbot Arena: battles of two models, one row per vote. A is what stood on the left.

    {"question_id": "…", "model_a": "…", "model_b": "…", "winner": "model_a", "conversation_a": [{"role": "user", …}, …],
     "conversation_b": […], "turn": 1, "anony": true, "language": "English", "tstamp": 1690000000.0, "judge": "…", "strength": 2}

`winner` is model_a, model_b, tie or tie (bothbad). Read besides: the form with 55,000 rows, whose `prompt`, `response_a` and
`response_b` are JSON lists in text, and whose winner stands in three columns. Where earlier answers differ, too, the two last
ones do not answer one prompt, and the row is refused.
"""

import json
from collections.abc import Iterator
from typing import Any

from annotate.consensus.judged import JudgedComparison

from ..models.judgement import Outcome
from .rows import Message, PreferenceRow, Unreadable, check_number, check_text, kept, need, split_dialogues

LOOKS_FOR = "conversation_a, conversation_b and winner; or response_a, response_b and winner_model_a"

WINNERS = {Outcome.FIRST: "model_a", Outcome.SECOND: "model_b", Outcome.TIE: "tie", Outcome.BOTH_BAD: "tie (bothbad)"}
OUTCOMES = {winner: outcome for outcome, winner in WINNERS.items()}
UNKNOWN = "unknown"


def rows_of(comparison: JudgedComparison) -> Iterator[dict[str, Any]]:
    first = (comparison.first_model, comparison.first)
    second = (comparison.second_model, comparison.second)
    for answer in comparison.answers:
        (model_a, a), (model_b, b) = (second, first) if answer.swapped else (first, second)
        yield {
            "question_id": str(comparison.id),
            "model_a": model_a or UNKNOWN,
            "model_b": model_b or UNKNOWN,
            "winner": WINNERS[answer.outcome.swapped if answer.swapped else answer.outcome],
            "judge": answer.annotator,
            "conversation_a": [*comparison.prompt, {"role": "assistant", "content": a}],
            "conversation_b": [*comparison.prompt, {"role": "assistant", "content": b}],
            "turn": sum(message["role"] == "user" for message in comparison.prompt),
            "anony": True,
            "language": UNKNOWN,
            "tstamp": answer.created_at.timestamp(),
            "strength": answer.strength,
        }


def recognises(row: dict[str, Any]) -> bool:
    return {"conversation_a", "conversation_b"} <= row.keys() or {"response_a", "response_b"} <= row.keys()


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    if "conversation_a" in row:
        dialogues = need(row, "conversation_a", "conversation_b")
        outcome = OUTCOMES.get(str(row.get("winner")))
    else:
        dialogues = [_dialogue(row, "response_a"), _dialogue(row, "response_b")]
        outcome = _winner_of_three(row)
    if outcome is None:
        raise Unreadable("The row does not say who won.", f"winner is one of: {', '.join(OUTCOMES)}.")
    prompt, a, b = split_dialogues(*dialogues, ("conversation_a", "conversation_b"))
    meta = kept(row, annotator="judge", id="question_id") or kept(row, id="id")
    meta |= {name: row[name] for name in ("model_a", "model_b") if row.get(name) not in (None, "", UNKNOWN)}
    strength = check_number(row.get("strength"), "strength") if outcome in (Outcome.FIRST, Outcome.SECOND) else 0
    yield PreferenceRow(line, prompt, a, b, outcome, strength, meta)


def _winner_of_three(row: dict[str, Any]) -> Outcome | None:
    columns = {"winner_model_a": Outcome.FIRST, "winner_model_b": Outcome.SECOND, "winner_tie": Outcome.TIE}
    won = [outcome for name, outcome in columns.items() if str(row.get(name)) in ("1", "True", "1.0")]
    return won[0] if len(won) == 1 else None


def _dialogue(row: dict[str, Any], side: str) -> list[Message]:
    """Prompts and answers in turn, from two lists of the same length."""
    prompts, answers = _list(row, "prompt"), _list(row, side)
    if len(prompts) != len(answers):
        raise Unreadable(f"prompt has {len(prompts)} turns and {side} {len(answers)}.", "Correct the row or delete it.")
    turns = zip(prompts, answers, strict=True)
    return [
        {"role": role, "content": check_text(text, f"A turn of {name}")}
        for pair in turns
        for role, name, text in zip(("user", "assistant"), ("prompt", side), pair, strict=True)
    ]


def _list(row: dict[str, Any], name: str) -> list[Any]:
    [value] = need(row, name)
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise Unreadable(f"{name} is not a JSON list.", 'Write it as "[\\"…\\"]".')
    return value
