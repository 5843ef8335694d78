"""Summed log-probabilities of completions under a model: one padded row per completion."""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from training.dpo.batches import Batch, collate, micro_batches
from training.dpo.tokens import Example


@dataclass(frozen=True)
class Precision:
    """Where and in what arithmetic the forward pass runs; weights are what the model holds."""

    device: torch.device
    compute: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.compute == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)


def token_logprobs(logits_SV: torch.Tensor, targets_S: torch.Tensor) -> torch.Tensor:
    """log softmax(logits)[target] in float32, (S, V), (S,) → (S,).

    Example: two equal logits give log 0.5 = −0.6931 for either target.
    """
    return -F.cross_entropy(logits_SV.float(), targets_S, reduction="none")


def batch_logprobs(model: Any, batch: Batch, precision: Precision) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each chosen and each rejected completion, in nats, summed over its tokens: (B,), (B,).

    The logits at position t predict token t + 1, so the head runs from the last prompt token on (the earliest of
    the batch); what is before the completion or is padding is not scored.
    """
    width = batch.input_ids_RT.shape[1]
    first = int(batch.completion_mask_RT.int().argmax(dim=1).min()) - 1  # the earliest position that predicts
    first = max(first, 0)
    with precision.autocast():
        keep = {"logits_to_keep": width - first} if _keeps_logits(type(model)) else {}
        logits_RTV = model(input_ids=batch.input_ids_RT, attention_mask=batch.attention_mask_RT, use_cache=False, **keep).logits
    logits_RTV = logits_RTV[:, -(width - first) : -1]
    scored_RT = batch.completion_mask_RT[:, first + 1 :]
    logprobs_S = token_logprobs(logits_RTV[scored_RT], batch.input_ids_RT[:, first + 1 :][scored_RT])
    sums_R = logprobs_S.new_zeros(scored_RT.shape).masked_scatter(scored_RT, logprobs_S).sum(dim=1)
    return sums_R[: batch.pairs], sums_R[batch.pairs :]


@torch.no_grad()
def score_examples(
    model: Any,
    examples: Sequence[Example],
    precision: Precision,
    micro_batch_pairs: int,
    before_each: Callable[[int], None] = lambda done: None,
) -> torch.Tensor:
    """Log-probabilities of all completions, (N, 2) float32 on the CPU: chosen, rejected; in the order of `examples`.

    `before_each` is called with the number of pairs done before each micro-batch: for progress, and to stop by raising.
    """
    scores_N2 = torch.zeros(len(examples), 2)
    done = 0
    for places in micro_batches(examples, micro_batch_pairs):
        before_each(done)
        batch = collate([examples[place] for place in places], pad_id=0, device=precision.device)
        scores_N2[places] = torch.stack(batch_logprobs(model, batch, precision), dim=1).float().cpu()
        done += len(places)
    return scores_N2


def _keeps_logits(model_class: type) -> bool:
    return "logits_to_keep" in inspect.signature(model_class.forward).parameters
