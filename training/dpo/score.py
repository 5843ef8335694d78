"""`python -m training.dpo score`: log-probabilities of a triples file, and implicit rewards beside a reference."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm

from training.dpo.data import read_triples
from training.dpo.errors import storage_error
from training.dpo.logprobs import TOKENS_AT_ONCE, Precision, Scorer, choose_path
from training.dpo.losses import implicit_reward
from training.dpo.model import load_model, load_tokenizer, longest_row
from training.dpo.tokens import Example, Limits, require_pairs, tokenise


def score_file(
    triples: Path, model: Path, reference: Path | None, output: Path | None, beta: float, device: str, limits: tuple[int, int]
) -> dict[str, Any]:
    """Write one JSON line per pair to `output` (None: standard output) and return the summary. Raises TrainerError.

    In float32: what is measured must not depend on the machine's arithmetic. Pairs over the limits are refused by line.
    """
    tokenizer = load_tokenizer(model)
    allowed = Limits(*limits, longest_row(model), over_long="error")
    tokenised = tokenise(tokenizer, read_triples(triples), triples, allowed)
    require_pairs(tokenised, triples, allowed)
    where = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    policy_N2 = _scores(model, tokenised.examples, where, "model")
    reference_N2 = _scores(reference, tokenised.examples, where, "reference") if reference else None
    rows = list(_rows(tokenised.examples, policy_N2, reference_N2, beta))
    _write(rows, output)
    return summary_of(rows)


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Pairs, and what share of them the model ranks as their annotators did, with its 95 % interval (Wilson).

    By implicit reward if there is a reference, else by log-probability, which favours short answers.
    """
    key = "margin" if "margin" in rows[0] else None
    margins = [row[key] if key else row["chosen_logp"] - row["rejected_logp"] for row in rows]
    right = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins) / len(rows)
    low, high = wilson(right, len(rows))
    by = "implicit reward" if key else "log-probability"
    return {"pairs": len(rows), "accuracy": right, "low": low, "high": high, "by": by, "margin": sum(margins) / len(rows)}


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share. Example: 5 of 10 → 0.237 to 0.763. The pages have annotate/intervals.py for it, which
    the trainer may not import, nor they the trainer's.
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def _scores(directory: Path, examples: list[Example], device: torch.device, name: str) -> torch.Tensor:
    model = load_model(directory, device)
    path, _ = choose_path(model, examples, device, TOKENS_AT_ONCE[device.type])
    with tqdm(total=len(examples), desc=name, unit="pair", file=sys.stderr, disable=None) as bar:
        scorer = Scorer(model, Precision(device, torch.float32), path)
        return scorer.score(examples, lambda done: bar.update(done - bar.n))


def _rows(
    examples: list[Example], policy_N2: torch.Tensor, reference_N2: torch.Tensor | None, beta: float
) -> Iterator[dict[str, Any]]:
    for place, example in enumerate(examples):
        row = {
            "line": example.line,
            "id": example.id,
            "chosen_tokens": len(example.chosen),
            "rejected_tokens": len(example.rejected),
        }
        row |= dict(zip(("chosen_logp", "rejected_logp"), policy_N2[place].tolist(), strict=True))
        if reference_N2 is not None:
            chosen, rejected = implicit_reward(policy_N2[place], reference_N2[place], beta).tolist()
            row |= {"chosen_reward": chosen, "rejected_reward": rejected, "margin": chosen - rejected}
        yield row


def _write(rows: list[dict[str, Any]], output: Path | None) -> None:
    def put(file: TextIO) -> None:
        file.writelines(json.dumps(row) + "\n" for row in rows)

    if output is None:
        put(sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            put(file)
    except OSError as error:
        raise storage_error("the scores", output, error) from error


def tell(summary: dict[str, Any]) -> None:
    print(
        f"{summary['pairs']} pairs; ranked as annotated by {summary['by']}: {summary['accuracy']:.1%} "
        f"({summary['low']:.1%} to {summary['high']:.1%}); mean margin {summary['margin']:+.3f}",
        file=sys.stderr,
    )
