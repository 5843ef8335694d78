"""Optimizers and the learning rate of each step."""

from collections.abc import Callable
from typing import Any

import torch


def make_optimizer(name: str, model: Any, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """An optimizer over all trainable parameters; vectors (norms, biases) do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    # On the CPU the fused AdamW takes a tenth of the time of the plain one: one pass over memory instead of ten.
    extra = {"fused": True} if name == "adamw" and parameters[0].device.type == "cpu" else {}
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=learning_rate, **extra)


def learning_rate_at(step: int, steps: int, peak: float, warmup_steps: int, schedule: str) -> float:
    """The rate of step `step` (from 0) of `steps`: linear warm-up over at most a tenth of the run, then the schedule.

    Example: 100 steps, peak 1e-6, warm-up 150 (so 10): step 0 has 1/11 of the peak, step 10 and later all of it.
    """
    warmup = min(warmup_steps, steps // 10)
    rising = min(1.0, (step + 1) / (warmup + 1))
    falling = (steps - step) / (steps - warmup) if schedule == "linear" and step >= warmup else 1.0
    return peak * rising * falling


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"rmsprop": torch.optim.RMSprop, "adamw": torch.optim.AdamW}
