"""Reading triples: JSONL in TRL's conversational form, checked row by row, all faults reported together.

For losses that take single answers (KTO), also TRL's unpaired rows: prompt, completion, label.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.dpo.errors import DataError

SHOWN_FAULTS = 20
FLAGS = ("chosen_truncated", "rejected_truncated", "completion_truncated", "tie")
Message = dict[str, str]


@dataclass(frozen=True)
class Triple:
    """One row as read: x, y_w and y_l with the row's line number. Of an unpaired row one of the two is empty."""

    line: int
    id: Any
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    weight: float
    margin: float
    chosen_truncated: bool = False  # cut at the generator's token limit, so it must not be taught to end there
    rejected_truncated: bool = False
    tie: bool = False  # neither answer was preferred: only the loss dpo_ties learns from it


def read_triples(path: Path, unpaired: bool = False) -> list[Triple]:
    """All rows of `path`; with `unpaired` also rows of one answer with its label, which become half a triple.

    Raises one DataError that names every broken, empty or identical row by line.
    """
    triples: list[Triple] = []
    faults: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        row = _parsed(line)
        found = [row] if isinstance(row, str) else row_faults(row, unpaired)
        faults += [f"{path.name} line {number}: {fault}. Delete the row or export again." for fault in found]
        if not found:
            triples.append(_triple(number, row))
    raise_faults(path, faults)
    if not triples:
        raise DataError(f"{path} has no rows. Export the triples again.")
    return triples


def raise_faults(path: Path, faults: list[str]) -> None:
    """Raise one DataError for all faults, showing at most SHOWN_FAULTS of them; do nothing when there are none."""
    if not faults:
        return
    more = [f"… and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
    raise DataError(f"{path}: {len(faults)} fault(s)\n" + "\n".join(faults[:SHOWN_FAULTS] + more))


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_faults(row: dict[str, Any], unpaired: bool = False) -> list[str]:
    """What is wrong with one parsed row, in words; an empty list when it can be trained on."""
    if single := is_unpaired(row):
        if not unpaired:
            return ['it has one answer with a label and no pair ("chosen", "rejected"), which only the loss kto learns from']
        faults = [_prompt_fault(row), _completion_fault(row, "completion")]
        faults += [] if isinstance(row.get("label"), bool) else ['"label" must be true (desirable) or false']
    else:
        faults = [_prompt_fault(row), _completion_fault(row, "chosen"), _completion_fault(row, "rejected")]
    faults += [_number_fault(row, "weight", low=0.0), _number_fault(row, "margin")]
    faults += [f'"{key}" must be true or false' for key in FLAGS if not isinstance(row.get(key, False), bool | None)]
    if not single and not any(faults) and row["chosen"][0]["content"] == row["rejected"][0]["content"]:
        faults.append('"chosen" and "rejected" are identical')
    return [fault for fault in faults if fault]


def is_unpaired(row: dict[str, Any]) -> bool:
    """Whether it is a row of TRL's unpaired form, {"prompt": …, "completion": …, "label": true}."""
    return "completion" in row and "chosen" not in row and "rejected" not in row


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Export it again.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check the path or export the triples again.") from error


def _parsed(line: str) -> dict[str, Any] | str:
    """The row, or the fault in words."""
    try:
        row = json.loads(line)
    except ValueError as error:
        return f"not JSON ({error})"
    return row if isinstance(row, dict) else "not a JSON object"


def _prompt_fault(row: dict[str, Any]) -> str | None:
    messages = row.get("prompt")
    if not isinstance(messages, list) or not messages:
        return '"prompt" must be a list of messages'
    if not all(_is_message(message) for message in messages):
        return '"prompt" must hold messages with "role" and "content" as text'
    if messages[-1]["role"] == "assistant":
        return "\"prompt\" ends with the assistant's message; it must end with the user's"
    return None if messages[-1]["content"].strip() else '"prompt" is empty'


def _completion_fault(row: dict[str, Any], key: str) -> str | None:
    messages = row.get(key)
    if not isinstance(messages, list) or not messages:
        return f'"{key}" is empty' if messages in ([], "", None) else f'"{key}" must be a list with one message'
    if len(messages) > 1:
        return f'"{key}" has {len(messages)} messages; it must have one (earlier turns belong to "prompt")'
    if not _is_message(messages[0]) or messages[0]["role"] != "assistant":
        return f'"{key}" must hold one message of role "assistant" with "content" as text'
    return None if messages[0]["content"].strip() else f'"{key}" is empty'


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _number_fault(row: dict[str, Any], key: str, low: float = -math.inf) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        return f'"{key}" must be a finite number{" of at least 0" if low == 0 else ""}'
    return None


def _triple(number: int, row: dict[str, Any]) -> Triple:
    if is_unpaired(row):
        side = "chosen" if row["label"] else "rejected"
        row = {**row, side: row["completion"], f"{side}_truncated": row.get("completion_truncated"), "tie": False}
    return Triple(
        line=number,
        id=row.get("id", number),
        prompt=tuple({"role": m["role"], "content": m["content"]} for m in row["prompt"]),
        chosen=row["chosen"][0]["content"] if "chosen" in row else "",
        rejected=row["rejected"][0]["content"] if "rejected" in row else "",
        weight=float(row["weight"] if row.get("weight") is not None else 1.0),
        margin=float(row["margin"] if row.get("margin") is not None else 0.0),
        chosen_truncated=bool(row.get("chosen_truncated")),
        rejected_truncated=bool(row.get("rejected_truncated")),
        tie=bool(row.get("tie")),
    )
