"""What a run will hold at its peak, said before it starts: weights, gradients, optimizer state, activations, head.

Weights and what follows from them are counted. What the layers keep for the backward pass is measured, for no formula knows
every model: one pair is put through it once, and twice, and the difference is what a pair costs.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from training.dpo import distributed
from training.dpo.allocator import resident_bytes
from training.dpo.config import Config
from training.dpo.errors import PreflightError
from training.dpo.head import TILE
from training.dpo.logprobs import Scorer
from training.dpo.packing import packed_length
from training.dpo.recompute import all_kept, is_recomputed
from training.dpo.tokens import Example

STATES = {"adamw": 2, "rmsprop": 1}  # numbers an optimizer keeps for each trained one
CERTAIN = 0.8  # of the estimate, which may be a fifth off, must exceed what is free before a run is refused
HEAD_TILES, HEAD_COPIES = 2, 2  # logits and their gradient; the gradient of the head's weight and what is added to it
FLOAT = 4  # bytes
HOLES = 0.15  # of what the layers keep: between blocks of the CPU's heap, too small for any of the next step (allocator.py)
RUNTIME = 192 * 1024**2  # kernels that are loaded or compiled (allocator.py) and buffers that stay, on the CPU


@dataclass(frozen=True)
class Memory:
    """Bytes of one process, by what they are for. `layer`: what one layer needs beside what all keep, while it computes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    layer: int
    update: int  # copies that the optimizer's step makes on a GPU
    runtime: int  # torch's own, from the first pass on
    libraries: int  # what the process held before the weights
    accumulates: bool  # gradients are already there while a micro-batch is computed

    @property
    def peak(self) -> int:
        """In the backward pass of a micro-batch, or in the optimizer's step."""
        computing = self.activations + max(self.head, self.layer)
        held = self.libraries + self.weights + self.optimizer + self.runtime
        together = held + computing + self.gradients if self.accumulates else held + max(computing, self.gradients)
        return max(together, held + self.gradients + self.update)

    def told(self) -> dict[str, int]:
        """For the start event."""
        parts = ("libraries", "weights", "gradients", "optimizer", "activations", "head")
        return {"peak": self.peak} | {name: value for name, value in asdict(self).items() if name in parts}


def foresee(config: Config, scorer: Scorer, examples: Sequence[Example], libraries: int = 0) -> Memory:
    """The memory of a run over `examples`; `scorer` has the weights it starts from, `libraries` the process held before them.

    Raises PreflightError where it is plain that not even one pair at a time fits into what is free.
    """
    shortest, longest = (pick(examples, key=lambda example: _tokens(scorer, example)) for pick in (min, max))
    each = tokens_keep(scorer, shortest)  # the longest, twice, might itself be too much
    least = memory_of(config, scorer, each, _tokens(scorer, longest), 1, libraries)
    free = free_bytes(scorer.precision.device)
    if free is not None and least.peak * CERTAIN > free:
        raise PreflightError(
            f"even one pair at a time needs about {least.peak / 1e9:.1f} GB (weights {least.weights / 1e9:.1f}, gradients "
            f"{least.gradients / 1e9:.1f}, {config.optimizer} {least.optimizer / 1e9:.1f}, the longest pair "
            f"{least.activations / 1e9:.1f}), and {scorer.precision.device.type} has {free / 1e9:.1f} GB for it. "
            f"Set {'' if config.checkpoint_activations else 'checkpoint_activations or '}lora_rank, lower max_prompt_tokens and "
            "max_completion_tokens, or start more processes with torchrun."
        )
    return memory_of(config, scorer, each, *micro_batches_of(config, scorer, examples), libraries)


@dataclass(frozen=True)
class PerToken:
    """Bytes that the forward pass keeps for the backward pass, for each token of a micro-batch. `layers`: what the layers would
    keep if they kept all; one of them at a time does where they are recomputed.
    """

    kept: float
    layers: float


def memory_of(config: Config, scorer: Scorer, each: PerToken, tokens: int, micro_batches: int, libraries: int = 0) -> Memory:
    """Of one process, for `micro_batches` of `tokens` in each step."""
    model, parts = scorer.model, distributed.count()
    counted = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    head_V, head = model.get_output_embeddings().weight.shape[0], model.get_output_embeddings().weight.numel()
    layers = model.config.get_text_config().num_hidden_layers
    whole = FLOAT * (head + (counted - head) // layers) if parts > 1 else 0  # put together to compute with
    casts = 2 * counted // parts if scorer.precision.compute == torch.bfloat16 else 0
    activations, layer = round(each.kept * tokens), round(each.layers * tokens) // layers
    on_cpu = scorer.precision.device.type == "cpu"
    return Memory(
        weights=FLOAT * counted // parts + whole,
        gradients=FLOAT * trained // parts + whole,
        optimizer=FLOAT * trained * STATES[config.optimizer] // parts,
        activations=round(activations * (1 + HOLES * on_cpu)) + casts,
        head=FLOAT
        * scorer.path.lanes
        * (HEAD_TILES * min(TILE, tokens) * head_V + (0 if config.lora_rank else HEAD_COPIES * head)),
        layer=2 * layer if is_recomputed(model) else layer,
        update=FLOAT * trained // parts if scorer.precision.device.type == "cuda" else 0,
        runtime=RUNTIME * on_cpu,
        libraries=libraries * on_cpu,
        accumulates=micro_batches > 1,
    )


def micro_batches_of(config: Config, scorer: Scorer, examples: Sequence[Example]) -> tuple[int, int]:
    """Tokens of the micro-batches that are computed at once, and how many micro-batches a process computes in a step."""
    tokens, lanes = [_tokens(scorer, example) for example in examples], scorer.path.lanes
    share = sum(tokens) / len(tokens) * min(config.batch_pairs, len(tokens)) / distributed.count()
    lane = max(max(tokens), min(scorer.path.budget, round(share)) // lanes)
    return max(max(tokens), min(lanes * lane, round(share))), max(lanes, math.ceil(share * lanes / scorer.path.budget))


def tokens_keep(scorer: Scorer, example: Example) -> PerToken:
    kept = _growth(scorer, example)
    if not is_recomputed(scorer.model):
        return PerToken(kept, kept)
    with all_kept(scorer.model):
        return PerToken(kept, _growth(scorer, example))


def _growth(scorer: Scorer, example: Example) -> float:
    once, twice = (kept_bytes(scorer, [example] * times) for times in (1, 2))
    distributed.recover(scorer.model)
    return max(0.0, (twice - once) / _tokens(scorer, example))


def free_bytes(device: torch.device) -> int | None:
    """What the weights, which are loaded already, and all else may take; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return (int(lines["MemAvailable"].split()[0]) * 1024 + resident_bytes()) // distributed.on_this_host()


def kept_bytes(scorer: Scorer, examples: list[Example]) -> int:
    """Bytes that live on after a forward pass."""
    if scorer.precision.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        kept = scorer.logprobs(examples)
        return torch.cuda.memory_allocated() - before - kept.nbytes
    storages: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself, it would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = scorer.logprobs(examples)
    del kept
    return sum(storages.values())


def _tokens(scorer: Scorer, example: Example) -> int:
    """That a pair takes in a micro-batch."""
    return packed_length(example) if scorer.path.packed else example.answers * example.width
