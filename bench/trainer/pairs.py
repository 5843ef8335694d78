"""Real preference pairs as triples in TRL's form, from the files beside the repository (which are never copied into it)."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TURN, ANSWER = "\n\nHuman:", "\n\nAssistant:"
Row = dict[str, Any]


def hh_pairs() -> Iterator[Row]:
    """Anthropic HH-RLHF, harmless-base test rows; those whose two sides do not share their prompt are left out."""
    with gzip.open(SHARED / "hh_harmless_pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            prompt, _, chosen = row["chosen"].rpartition(ANSWER)
            other, _, rejected = row["rejected"].rpartition(ANSWER)
            if prompt == other and chosen.strip() and rejected.strip() and chosen.strip() != rejected.strip():
                yield _triple(number, list(_messages(prompt)), chosen.strip(), rejected.strip())


def alpaca_pairs() -> Iterator[Row]:
    """AlpacaEval battles, in the file's order; ties are left out. Rows of one instruction stay together by `group`."""
    with gzip.open(SHARED / "alpaca_battles.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            if abs(row["preference"] - 1.5) < 1e-6 or not row["output_1"].strip() or not row["output_2"].strip():
                continue
            outputs = [row["output_1"].strip(), row["output_2"].strip()]
            chosen, rejected = outputs if row["preference"] < 1.5 else outputs[::-1]
            if chosen != rejected:
                yield _triple(number, [{"role": "user", "content": row["instruction"]}], chosen, rejected) | {
                    "group": hashlib.sha256(row["instruction"].encode()).hexdigest()
                }


def write_triples(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _messages(dialogue: str) -> Iterator[dict[str, str]]:
    for turn in dialogue.split(TURN)[1:]:
        question, *answers = turn.split(ANSWER)
        yield {"role": "user", "content": question.strip()}
        for answer in answers:
            yield {"role": "assistant", "content": answer.strip()}


def _triple(number: int, prompt: list[dict[str, str]], chosen: str, rejected: str) -> Row:
    return {
        "id": number,
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
