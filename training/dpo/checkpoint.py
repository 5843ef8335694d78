"""Checkpoints: OUTPUT/checkpoint/step-N, each whole or absent. safetensors for tensors, JSON for the rest.

A new one is complete on disk before the one before it is removed. Weights lie in it whole, so that a run may go
on with another number of processes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.dpo import distributed
from training.dpo.errors import StorageError
from training.dpo.storage import remove_partials, write_directory

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_RNG_CPU, _RNG_CUDA = "rng.cpu", "rng.cuda"


def save_checkpoint(directory: Path, step: int, model: Any, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> Path:
    """Write `directory`/step-N and then remove older ones. Raises StorageError; the last good one then stays."""
    path = directory / f"step-{step:08d}"
    if distributed.by_first(path.exists):
        return path
    weights, rest = distributed.gathered(model_tensors(model)), distributed.gathered(optimizer_tensors(model, optimizer))

    def fill(partial: Path) -> None:
        write_tensors(partial / MODEL, weights)
        write_tensors(partial / OPTIMIZER, rest | _random_state())
        (partial / STATE).write_text(json.dumps({"step": step, **state}, indent=2), encoding="utf-8")

    def write() -> None:
        write_directory(path, fill, what=f"the checkpoint of step {step}")
        for old in directory.glob("step-*"):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)

    distributed.by_first(write)
    return path


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint; half-written ones are cleared away."""
    remove_partials(directory)
    return max(directory.glob("step-*"), default=None)


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint keeps besides tensors. Raises StorageError when it cannot be read."""
    try:
        return json.loads((path / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read the checkpoint {path}: {error}. Delete it to start over.") from error


def load_checkpoint(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Put weights, optimizer state and random state back, bit for bit. Raises StorageError when they cannot be read."""
    try:
        weights, rest = load_file(path / MODEL), load_file(path / OPTIMIZER)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"cannot read the checkpoint {path}: {error}. Delete it to start over.") from error
    with torch.no_grad():
        for name, tensor in model_tensors(model).items():
            tensor.copy_(distributed.parted(weights[name], tensor))
    torch.set_rng_state(rest.pop(_RNG_CPU))
    if (cuda := rest.pop(_RNG_CUDA, None)) is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
    parameters = dict(model.named_parameters())
    for key, tensor in rest.items():
        name, _, part = key.rpartition("/")
        parameter = parameters[name]
        # A step counter (no dimensions) lives on the CPU, whatever the device of the weights.
        optimizer.state[parameter][part] = tensor if tensor.ndim == 0 else distributed.parted(tensor, parameter)


def differs(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of tensors that a checkpoint does not hold as they are in memory; empty when it can be trusted."""
    held = distributed.gathered(model_tensors(model) | optimizer_tensors(model, optimizer))
    return distributed.by_first(lambda: _differing(path, held))


def _differing(path: Path, held: dict[str, torch.Tensor]) -> list[str]:
    stored = load_file(path / MODEL) | load_file(path / OPTIMIZER)
    return [name for name, tensor in held.items() if name not in stored or not torch.equal(stored[name], tensor.cpu())]


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def model_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Trained parameters by name, each shared one once. Frozen ones are the parent's; buffers are made from the config."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def optimizer_tensors(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Optimizer state as "PARAMETER/PART" → tensor."""
    return {
        f"{name}/{part}": tensor.detach()
        for name, parameter in model.named_parameters()
        for part, tensor in optimizer.state.get(parameter, {}).items()
    }


def _random_state() -> dict[str, torch.Tensor]:
    state = {_RNG_CPU: torch.get_rng_state()}
    if torch.cuda.is_available():
        state[_RNG_CUDA] = torch.cuda.get_rng_state()
    return state
