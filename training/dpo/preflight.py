"""Checks before step 1. A run whose numbers cannot be trusted does not start."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from training.dpo.checkpoint import differs
from training.dpo.errors import ModelError, PreflightError, StorageError
from training.dpo.evaluate import Objective
from training.dpo.logprobs import answer_lengths
from training.dpo.losses import Scores
from training.dpo.tokens import Example

# Largest difference allowed between two forward passes of the same weights over differently padded batches, in nats
# per token. Two correct float32 passes differ by about 1e-6, two correct bfloat16 ones by about 1e-2.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def check_audit(audit: dict[str, Any], path: Path) -> None:
    """Raises PreflightError when a completion does not end in its one end-of-turn token: a fault of this program."""
    if lines := audit["without_end_of_turn"]:
        raise PreflightError(
            f"{path}: the answers of lines {', '.join(map(str, lines[:20]))} do not end in {audit['end_of_turn']!r}, "
            "so the trained model would not stop. Report this with the row and the model's tokenizer."
        )


def check_start(
    policy_N2: torch.Tensor, reference_N2: torch.Tensor, examples: list[Example], objective: Objective, compute: torch.dtype
) -> dict[str, float]:
    """Policy and reference are the same weights, so every reward must be 0 and the loss what it is there: of dpo, ln 2.

    `policy_N2` are log-probabilities of the weights about to be trained, in the arithmetic of training; `reference_N2`
    those that the run will use. Raises PreflightError with the worst row. Returns the figures for the event.
    """
    worst = _worst_difference(policy_N2, reference_N2, examples)
    answers = objective.divisor(examples)  # where policy and reference are the same, the reference point of kto is 0
    loss = objective.losses(Scores.of(policy_N2, reference_N2, examples)).sum().item() / answers
    expected = objective.losses(Scores.of(reference_N2, reference_N2, examples)).sum().item() / answers  # of dpo: ln 2
    reward = objective.beta * (policy_N2 - reference_N2).abs().max().item()
    if not worst["per_token"] <= TOLERANCE[compute]:
        raise PreflightError(
            f"before step 1 all rewards must be 0 and the loss {expected:.4f}, but it is {loss:.4f}: policy and reference are "
            f"the same weights and differ by {worst['per_token']:.2e} nats per token on row {worst['id']!r} "
            f"(allowed: {TOLERANCE[compute]:g}). Delete the reference cache and start again; if it stays, report this model."
        )
    return {"loss": loss, "largest_reward": reward, "nats_per_token": worst["per_token"]}


def check_reference(
    again_N2: torch.Tensor, reference_N2: torch.Tensor, examples: list[Example], compute: torch.dtype
) -> dict[str, float]:
    """The reference is another version: its log-probabilities, computed again, must equal the ones kept."""
    worst = _worst_difference(again_N2, reference_N2, examples)
    if not worst["per_token"] <= TOLERANCE[compute]:
        raise PreflightError(
            f"the kept reference log-probabilities differ by {worst['per_token']:.2e} nats per token from the reference on row "
            f"{worst['id']!r} (allowed: {TOLERANCE[compute]:g}). Delete the reference cache and start again."
        )
    return {"nats_per_token": worst["per_token"]}


def check_generation_config(model: Any, directory: str) -> None:
    """Raises ModelError for a generation config that transformers would load but refuse to save at the end."""
    try:
        if model.generation_config is not None:
            model.generation_config.validate(strict=True)
    except ValueError as error:
        raise ModelError(
            f"{directory}/generation_config.json cannot be saved with the trained model: {error} Correct it there."
        ) from error


def check_space(output: Path, model: Any, optimizer_name: str) -> None:
    """Raises StorageError when two checkpoints (the old one stays until the new one is whole) or the model do not fit."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, is_trained in sizes if is_trained)
    needed = max(2 * trained * (3 if optimizer_name == "adamw" else 2), sum(size for size, _ in sizes))
    free = shutil.disk_usage(output).free
    if free < needed:
        raise StorageError(
            f"{output} has {free / 1e9:.1f} GB free; checkpoints and the model need about {needed / 1e9:.1f} GB. "
            "Free some space or choose another output."
        )


def check_checkpoint(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Raises PreflightError when a checkpoint just written does not read back as it is in memory."""
    if wrong := differs(path, model, optimizer):
        raise PreflightError(
            f"the checkpoint {path} reads back differently ({len(wrong)} tensors, first {wrong[0]}). "
            "The disk or file system is faulty: choose another output."
        )


def _worst_difference(first_N2: torch.Tensor, second_N2: torch.Tensor, examples: list[Example]) -> dict[str, Any]:
    per_token_N = ((first_N2 - second_N2).abs() / answer_lengths(examples)).amax(dim=1)
    place = int(torch.nan_to_num(per_token_N, nan=math.inf).argmax())
    return {"per_token": per_token_N[place].item(), "id": examples[place].id}
