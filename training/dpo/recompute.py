"""Activation checkpointing (Chen et al., arXiv:1604.06174): a layer keeps its input only and is computed again for its gradient.

transformers has it, but only for a model that is in training mode, which would turn its dropout on: policy and reference would
then differ at step 0. So the layers are told here. It costs about one forward pass more and changes no number.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from training.dpo.errors import ModelError


class Recomputed:
    """The forward pass of a layer that forgets what it computed. There is no dropout, so there is no random state to keep."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward
        self.on = True

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not self.on or not torch.is_grad_enabled():
            return self.forward(*given, **named)
        return checkpoint(self.forward, *given, use_reentrant=False, preserve_rng_state=False, **named)


def recompute_layers(model: Any) -> None:
    """From now on the layers of `model` keep their inputs only. Raises ModelError for a model whose layers are not known."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(f"checkpoint_activations: the layers of {type(model).__name__} cannot be computed apart. Leave it out.")
    for layer in layers:
        layer.forward = Recomputed(layer.forward)


def is_recomputed(model: Any) -> bool:
    return bool(_recomputed(model))


@contextmanager
def all_kept(model: Any) -> Iterator[None]:
    """Within the block, layers keep everything: to measure what that takes."""
    parts = _recomputed(model)
    for part in parts:
        part.on = False
    try:
        yield
    finally:
        for part in parts:
            part.on = True


def _recomputed(model: Any) -> list[Recomputed]:
    return [part for module in model.modules() if isinstance(part := vars(module).get("forward"), Recomputed)]
