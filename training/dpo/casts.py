"""Weights in the arithmetic of the products: cast once for all micro-batches of a step, between which they do not change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.dpo import distributed

_lock = threading.Lock()
_kept: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None  # id of a weight → it, so that its id stays taken, and its cast


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
    if weight.dtype == compute or _kept is None:
        return weight.detach().to(compute)
    with _lock:
        if id(weight) not in _kept:
            _kept[id(weight)] = weight, weight.detach().to(compute)
        return _kept[id(weight)][1]
