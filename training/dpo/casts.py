"""Weights in the arithmetic of the products: cast once for all micro-batches of a step, between which they do not change."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from training.dpo import distributed

_lock = threading.Lock()
# The ids of weights → them, so that their ids stay taken, and their cast.
_kept: dict[tuple[int, ...], tuple[Sequence[torch.Tensor], torch.Tensor]] | None = None


@contextmanager
def weights_cast_once() -> Iterator[None]:
    """Within the block no weight may change, and each is cast when it is first asked for. Of several processes each has a part of
    the weights, and whole ones are not kept.
    """
    global _kept
    before, _kept = _kept, {} if distributed.count() == 1 else None
    try:
        yield
    finally:
        _kept = before


def cast(weight: torch.Tensor, compute: torch.dtype) -> torch.Tensor:
    """`weight` in `compute`, without a gradient of its own."""
    if weight.dtype == compute:
        return weight.detach()
    return _once([weight], lambda: weight.detach().to(compute))


def stacked(weights: Sequence[torch.Tensor], compute: torch.dtype) -> list[torch.Tensor]:
    """Weights of one input, (N, D) each, in `compute`: below each other as one, (ΣN, D), where they are cast anyway, for a large
    product takes less time than three small ones; else each by itself.
    """
    if any(weight.dtype == compute for weight in weights):
        return [cast(weight, compute) for weight in weights]
    return [_once(weights, lambda: _cast_below_each_other(weights, compute))]


def _cast_below_each_other(weights: Sequence[torch.Tensor], compute: torch.dtype) -> torch.Tensor:
    whole = weights[0].new_empty(sum(map(len, weights)), weights[0].shape[1], dtype=compute)
    for part, weight in zip(whole.split([len(weight) for weight in weights]), weights, strict=True):
        part.copy_(weight.detach())
    return whole


def _once(weights: Sequence[torch.Tensor], make: Callable[[], torch.Tensor]) -> torch.Tensor:
    if _kept is None:
        return make()
    key = tuple(map(id, weights))
    with _lock:
        if key not in _kept:
            _kept[key] = weights, make()
        return _kept[key][1]
