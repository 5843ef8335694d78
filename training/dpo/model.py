"""Loading a version's directory, and choosing device and arithmetic with the reason."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers

from training.dpo import distributed
from training.dpo.config import Config
from training.dpo.device import trains_faster_in_bfloat16
from training.dpo.errors import ModelError
from training.dpo.layers import speed_up_layers
from training.dpo.logprobs import Precision
from training.dpo.storage import require_model_directory

# Under bfloat16 a forward pass sees an update only when the weight has moved half a unit in the last place:
# 2^-9 of its size, 6e-5 for a typical weight of 0.03. Measured: 4 steps of 5e-4 still lose a quarter of
# themselves. Below 16 such distances of total travel, float32 it is.
BF16_LEAST_TRAVEL = 1e-3


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a version. Raises ModelError when the directory has none that can be read."""
    require_model_directory(directory)
    try:
        return transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        raise ModelError(f"cannot load the tokenizer in {directory}: {error}. Import the model again.") from error


def load_model(directory: Path, device: torch.device, dtype: torch.dtype = torch.float32, exact: bool = False) -> Any:
    """The causal language model of a version on `device`, as `read_model` reads it; `exact`: in float32 after rounding.

    Of several processes, each has its part of it.
    """
    model = read_model(directory, dtype)
    speed_up_layers(model)
    return distributed.shard(model.float() if exact else model, device)


def read_model(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The causal language model of a version, without dropout, whole and in main memory.

    Raises ModelError when weights are missing, broken, quantised or not those of a causal language model.
    """
    require_model_directory(directory)
    transformers.utils.logging.disable_progress_bar()
    try:
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # transformers, safetensors and model code raise many kinds here
        raise ModelError(f"cannot load the model in {directory}: {error}. Import the model again.") from error
    if loading["missing_keys"] or loading["mismatched_keys"]:
        names = ", ".join(sorted(str(key) for key in [*loading["missing_keys"], *loading["mismatched_keys"]])[:5])
        raise ModelError(f"the weights in {directory} do not fit its config (first: {names}). Import the model again.")
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        raise ModelError(f"the weights in {directory} are quantised. Import the model in float32, float16 or bfloat16.")
    # With padding_idx set, torch silently gives that token's embedding no gradient; often it is the end-of-turn token.
    model.get_input_embeddings().padding_idx = None
    return model.eval()  # eval: no dropout, so that policy and reference agree at step 0


def longest_row(directory: Path) -> int | None:
    """Most tokens the model takes in one row, None when its config does not say."""
    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def weights_sha256(directory: Path) -> str:
    """Hash of a version's config and weight files."""
    digest = hashlib.sha256()
    for path in sorted([*directory.glob("*.safetensors"), directory / "config.json"]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def choose_precision(config: Config, steps: int, begun: str | None = None) -> tuple[Precision, str]:
    """Device and arithmetic of the run, with the reason in words. A run that goes on keeps the arithmetic it has `begun` in."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelError('device is "cuda" but torch finds no GPU here. Set device to "auto" or "cpu".')
    name = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if config.compute != "auto":
        return Precision(device, getattr(torch, config.compute)), f"{config.compute}: set in the config"
    if begun:
        return Precision(device, getattr(torch, begun)), f"{begun}: what the run began with"
    travel = config.learning_rate * steps
    if not distributed.by_first(lambda: trains_faster_in_bfloat16(device)):
        return Precision(device, torch.float32), f"float32: on this {name} bfloat16 is not faster"
    if travel < BF16_LEAST_TRAVEL:
        reason = (
            f"float32: {steps} steps of {config.learning_rate:g} move a weight by {travel:.1e} at most, "
            f"and bfloat16 hides moves below {BF16_LEAST_TRAVEL:g}"
        )
        return Precision(device, torch.float32), reason
    return Precision(device, torch.bfloat16), "bfloat16 over float32 weights: the updates are large enough to be seen"
