"""LLaMA-Factory's sharegpt form for preferences (written only), and the entry that its dataset_info.json needs."""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.triples import Triple

SPEAKERS = {"user": "human", "assistant": "gpt"}


def rows_of(triple: Triple) -> Iterator[dict[str, Any]]:
    system = triple.prompt[0]["content"] if triple.prompt[0]["role"] == "system" else ""
    turns = triple.prompt[1:] if system else triple.prompt
    yield {
        "conversations": [{"from": SPEAKERS[turn["role"]], "value": turn["content"]} for turn in turns],
        "chosen": {"from": "gpt", "value": triple.chosen},
        "rejected": {"from": "gpt", "value": triple.rejected},
        "system": system,
    }


def dataset_info(file_name: str) -> dict[str, Any]:
    """What dataset_info.json says of the file."""
    return {
        "file_name": file_name,
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"},
    }
