"""LoRA: small trained matrices beside frozen weights (Hu et al., arXiv:2106.09685), by PEFT. DoRA: arXiv:2402.09353."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from training.dpo.config import Config
from training.dpo.errors import ModelError

ADAPTER = "adapter"  # directory of the adapter within a version's


def with_adapters(model: Any, config: Config) -> Any:
    """`model` with adapters that change nothing yet; its own weights are frozen. Raises ModelError for unknown targets."""
    import peft

    targets = [name.strip() for name in config.lora_targets.split(",")]
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        target_modules=targets[0] if targets == ["all-linear"] else targets,
        lora_dropout=0.0,  # policy and reference must agree at step 0
        use_dora=config.dora,
        task_type=peft.TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own calls into transformers
        torch.manual_seed(config.seed)
        try:
            adapted = peft.get_peft_model(model, settings)
        except ValueError as error:
            raise ModelError(f"lora_targets: {error}") from error
    return adapted.eval()


@contextmanager
def adapters_off(model: Any) -> Iterator[None]:
    """Within the block `model`, if it has adapters, computes as it did without them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:  # PEFT's own way also freezes the adapters, which FSDP2 would not unlearn
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def is_adapted(model: Any) -> bool:
    return hasattr(model, "merge_and_unload")


def save_adapter(model: Any, directory: Path) -> None:
    """What PEFT and vLLM load beside the parent's weights."""
    model.save_pretrained(directory / ADAPTER, safe_serialization=True)


def merged(model: Any) -> Any:
    """One model with the adapters added to its weights. `model` is used up."""
    return model.merge_and_unload()
