"""Argilla's records: one per comparison, one response per judgement.

    {"id": "17", "fields": {"prompt": "Q", "reply-1": "A", "reply-2": "B"},
     "responses": {"preference": [{"value": "reply-1", "user_id": "…"}], "strength": [{"value": 2, "user_id": "…"}]},
     "metadata": {}, "status": "completed"}

`preference` is reply-1, reply-2, tie or both_bad. `prompt` is a text or, for a conversation, a list of messages.
"""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.judged import JudgedComparison

from ..models.judgement import Outcome
from .rows import PreferenceRow, Unreadable, check_answer, check_number, check_prompt, need

LOOKS_FOR = "fields with prompt, reply-1 and reply-2, and responses"
VALUES = {Outcome.FIRST: "reply-1", Outcome.SECOND: "reply-2", Outcome.TIE: "tie", Outcome.BOTH_BAD: "both_bad"}
OUTCOMES = {value: outcome for outcome, value in VALUES.items()}


def rows_of(comparison: JudgedComparison) -> Iterator[dict[str, Any]]:
    single = len(comparison.prompt) == 1
    yield {
        "id": str(comparison.id),
        "fields": {
            "prompt": comparison.prompt[0]["content"] if single else comparison.prompt,
            "reply-1": comparison.first,
            "reply-2": comparison.second,
        },
        "responses": {
            "preference": [{"value": VALUES[answer.outcome], "user_id": answer.annotator} for answer in comparison.answers],
            "strength": [{"value": answer.strength, "user_id": answer.annotator} for answer in comparison.answers],
        },
        "metadata": {"split": comparison.split},
        "status": "completed",
    }


def recognises(row: dict[str, Any]) -> bool:
    return isinstance(row.get("fields"), dict) and "responses" in row


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    fields, responses = need(row, "fields", "responses")
    if not isinstance(fields, dict) or not isinstance(responses, dict):
        raise Unreadable("fields or responses is not an object.", "Export the dataset as records again.")
    given = responses.get("preference")
    if not isinstance(given, list) or not given:
        raise Unreadable("Nobody has answered this record.", "Import its prompt instead, or leave the row out.")
    prompt, a, b = need(fields, "prompt", "reply-1", "reply-2")
    prompt, a, b = check_prompt(prompt), check_answer(a, "reply-1"), check_answer(b, "reply-2")
    strengths = _by_user(responses.get("strength"))
    for response in given:
        value = response.get("value") if isinstance(response, dict) else None
        outcome = OUTCOMES.get(value if isinstance(value, str) else "")
        if outcome is None:
            raise Unreadable("A response to preference is none of those known.", f"It is one of: {', '.join(OUTCOMES)}.")
        user = response.get("user_id")
        strength = check_number(strengths.get(str(user)), "strength") if outcome in (Outcome.FIRST, Outcome.SECOND) else 0
        meta = {"annotator": user, "id": row.get("id")}
        yield PreferenceRow(line, prompt, a, b, outcome, strength, {name: v for name, v in meta.items() if v is not None})


def _by_user(responses: Any) -> dict[str, Any]:
    rows = responses if isinstance(responses, list) else []
    return {str(row.get("user_id")): row.get("value") for row in rows if isinstance(row, dict)}
