"""Label Studio's pairwise tasks, as a JSON array: one task per comparison, one annotation per judgement.

    {"id": 1, "data": {"prompt": "Q", "answer1": "A", "answer2": "B"}, "annotations": [{"completed_by": 3, "was_cancelled": false,
     "lead_time": 4.3, "result": [{"from_name": "comparison", "to_name": "answer1,answer2", "type": "pairwise",
                                   "value": {"selected": "left"}}]}]}

Left is the first name in `to_name`. A pairwise result knows left and right only: a tie and both bad are a second result of type
`choices` (and no pairwise one), the strength is one of type `rating`. A conversation stands in `data.messages`.
"""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.judged import Answer, JudgedComparison

from ..models.judgement import Outcome
from .rows import PreferenceRow, Unreadable, check_answer, check_number, check_prompt, need

LOOKS_FOR = "data with prompt, answer1 and answer2, and annotations"
AS_ARRAY = True
SIDES = {Outcome.FIRST: "left", Outcome.SECOND: "right"}
OUTCOMES = {side: outcome for outcome, side in SIDES.items()}


def rows_of(comparison: JudgedComparison) -> Iterator[dict[str, Any]]:
    yield {
        "id": comparison.id,
        "data": {
            "prompt": comparison.prompt[-1]["content"],
            "messages": comparison.prompt,
            "answer1": comparison.first,
            "answer2": comparison.second,
        },
        "annotations": [_annotation(answer) for answer in comparison.answers],
    }


def _annotation(answer: Answer) -> dict[str, Any]:
    pair = {"from_name": "comparison", "to_name": "answer1,answer2"}
    if answer.outcome in SIDES:
        result = [pair | {"type": "pairwise", "value": {"selected": SIDES[answer.outcome]}}]
        result.append({"from_name": "strength", "to_name": "prompt", "type": "rating", "value": {"rating": answer.strength}})
    else:
        choice = {"choices": [answer.outcome.value]}
        result = [{"from_name": "neither", "to_name": "prompt", "type": "choices", "value": choice}]
    return {
        "completed_by": int(answer.annotator, 16),  # Label Studio's ids are numbers
        "was_cancelled": False,
        "lead_time": answer.seconds,
        "result": result,
    }


def recognises(row: dict[str, Any]) -> bool:
    return isinstance(row.get("data"), dict) and "annotations" in row


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    data, annotations = need(row, "data", "annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise Unreadable("data is not an object, or annotations not a list.", "Export the project as JSON again.")
    given = [found for found in annotations if isinstance(found, dict) and not found.get("was_cancelled")]
    if not given:
        raise Unreadable("Nobody has answered this task.", "Import its prompt instead, or leave the row out.")
    for annotation in given:
        yield _preference(line, row.get("id"), data, annotation)


def _preference(line: int, task: Any, data: dict[str, Any], annotation: dict[str, Any]) -> PreferenceRow:
    results = {str(found.get("type")): found for found in annotation.get("result") or [] if isinstance(found, dict)}
    names, outcome = ["answer1", "answer2"], None
    if pair := results.get("pairwise"):
        outcome = OUTCOMES.get(str(_value(pair, "selected")))
        names = str(pair.get("to_name", "")).split(",")
        if len(names) != 2 or not set(names) <= data.keys():
            names = ["answer1", "answer2"]
    elif choice := results.get("choices"):
        choices = _value(choice, "choices")
        outcome = {"tie": Outcome.TIE, "both_bad": Outcome.BOTH_BAD}.get(
            choices[0] if isinstance(choices, list) and choices else ""
        )
    if outcome is None:
        raise Unreadable("An annotation says neither left nor right.", "It needs a result of type pairwise with left or right.")
    need(data, *names)
    rating = _value(results.get("rating", {}), "rating")
    strength = check_number(rating, "rating") if outcome in SIDES else 0
    prompt = check_prompt(data.get("messages") or need(data, "prompt")[0], "data.prompt")
    meta = {"annotator": annotation.get("completed_by"), "seconds": annotation.get("lead_time"), "id": task}
    meta = {name: value["id"] if isinstance(value, dict) and "id" in value else value for name, value in meta.items()}
    meta = {name: value for name, value in meta.items() if value is not None}
    return PreferenceRow(
        line, prompt, check_answer(data[names[0]], names[0]), check_answer(data[names[1]], names[1]), outcome, strength, meta
    )


def _value(result: dict[str, Any], name: str) -> Any:
    value = result.get("value")
    return value.get(name) if isinstance(value, dict) else None
