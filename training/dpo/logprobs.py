"""Log-probabilities of completions under a model, summed over their tokens, by one of two paths.

Packed (packing.py, attention.py, head.py): many pairs in one row, each prompt once. Plain: a padded row per completion, as
any transformers model takes it. Both give the same numbers; `choose_path` proves it on the first pairs of a run.
"""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from training.dpo import distributed
from training.dpo.attention import NAME, CannotPack, Layout, layout_of
from training.dpo.batches import Batch, answers_of, collate, fill_padded
from training.dpo.casts import weights_cast_once
from training.dpo.head import tiled_logprobs
from training.dpo.lanes import lanes_for, side_by_side
from training.dpo.packing import make_pack, packed_length, spread_packs
from training.dpo.tokens import Example

AGREEMENT = 1e-4  # nats per token that the two paths may differ by, in float32
CHECKED_PAIRS = 4
TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 16384}  # unless the config says otherwise


@dataclass(frozen=True)
class Precision:
    """Where and in what arithmetic the forward pass runs; weights are what the model holds."""

    device: torch.device
    compute: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.compute in (torch.float32, torch.float64):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)


@dataclass(frozen=True)
class ForwardPath:
    """How log-probabilities are computed: packed or plain, with at most `budget` tokens in memory at once, of so many
    micro-batches side by side.
    """

    packed: bool
    budget: int
    lanes: int = 1


@dataclass(frozen=True)
class Scorer:
    """A model with the way its log-probabilities are computed."""

    model: Any
    precision: Precision
    path: ForwardPath

    def micro_batches(self, examples: Sequence[Example]) -> list[list[int]]:
        """Places in `examples`, cut into parts that fit the budget."""
        if self.path.packed:
            lengths, lanes = [packed_length(example) for example in examples], self.path.lanes
            return spread_packs(lengths, max(1, self.path.budget // lanes), distributed.count() * lanes)
        return fill_padded(examples, self.path.budget)

    def logprobs(self, examples: Sequence[Example]) -> torch.Tensor:
        """Log-probability of each chosen and rejected completion, in nats, 0 of one that is not there: (B, 2), differentiable."""
        if self.path.packed:
            return packed_logprobs(self.model, examples, self.precision)
        sums_R = batch_logprobs(self.model, collate(examples, pad_id=0, device=self.precision.device), self.precision)
        places_R = torch.tensor(answers_of(examples), device=sums_R.device)
        return sums_R.new_zeros(2 * len(examples)).index_copy(0, places_R, sums_R).view(-1, 2)

    @torch.no_grad()
    def score(self, examples: Sequence[Example], before_each: Callable[[int], None] = lambda done: None) -> torch.Tensor:
        """(N, 2) float32 on the CPU, in the order of `examples`.

        `before_each` is called with the number of pairs done before each micro-batch: for progress, and to stop by raising.
        """
        scores_N2 = torch.zeros(len(examples), 2)
        parts, done = distributed.share(self.micro_batches(examples)), 0
        scored = side_by_side(lambda part: self._score_part(examples, part), parts, self.path.lanes)
        with weights_cast_once(), contextlib.closing(scored):
            for places in parts:
                before_each(done)
                scores_B2 = next(scored)
                if places:
                    scores_N2[places] = scores_B2
                    done += len(places)
        return distributed.total(scores_N2)

    def _score_part(self, examples: Sequence[Example], places: list[int] | None) -> torch.Tensor:
        return self.logprobs([examples[place] for place in places or [shortest(examples)]]).float().cpu()


def shortest(examples: Sequence[Example]) -> int:
    """The place of the pair that a process computes when all others are taken, and forgets."""
    return min(range(len(examples)), key=lambda place: examples[place].tokens)


def answer_lengths(examples: Sequence[Example]) -> torch.Tensor:
    """(N, 2), 1 at least: what differences of log-probabilities are divided by to get them per token."""
    return torch.tensor([[len(example.chosen), len(example.rejected)] for example in examples]).clamp(min=1)


def choose_path(model: Any, examples: Sequence[Example], device: torch.device, budget: int) -> tuple[ForwardPath, str]:
    """Packed, if it gives this model's numbers on the first pairs in float32; else plain. With the reason in words."""
    exact = Precision(device, torch.float32)
    plain = ForwardPath(packed=False, budget=budget)
    few = sorted(examples, key=packed_length)[:CHECKED_PAIRS]
    try:
        packed_N2 = Scorer(model, exact, replace(plain, packed=True)).score(few)
    except (CannotPack, TypeError, AttributeError, RuntimeError, ValueError) as error:  # model code raises what it likes
        distributed.recover(model)
        return plain, f"plain: {type(_bare(model)).__name__} does not take packed rows ({error})"
    lengths_N2 = answer_lengths(few)
    worst = ((packed_N2 - Scorer(model, exact, plain).score(few)).abs() / lengths_N2).max().item()
    if not worst <= AGREEMENT:
        return plain, f"plain: packed rows of {type(_bare(model)).__name__} differ by {worst:.1e} nats per token"
    path = ForwardPath(packed=True, budget=budget, lanes=lanes_for(device))
    return path, f"packed: agrees with plain rows to {worst:.1e} nats per token"


def _bare(model: Any) -> Any:
    """The model that has been given adapters, or has none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def packed_logprobs(model: Any, examples: Sequence[Example], precision: Precision) -> torch.Tensor:
    """All pairs in one row: (B, 2). Raises CannotPack when the model asks something else of its attention."""
    attend_with(model, NAME)
    layout = layout_of(make_pack(examples, precision.device))
    logprobs_S = distributed.within(model, _scored_tokens, layout, precision)
    sums = logprobs_S.new_zeros(2 * len(examples)).index_add(0, layout.pack.answers_S, logprobs_S)
    return sums.view(-1, 2)


def _scored_tokens(model: Any, layout: Layout, precision: Precision) -> torch.Tensor:
    """Log-probability of each of a pack's S scored tokens, in nats: (S,)."""
    pack = layout.pack
    with precision.autocast():
        hidden_TD = model.get_decoder()(
            input_ids=pack.input_ids_T[None], position_ids=pack.position_ids_T[None], use_cache=False, layout=layout
        ).last_hidden_state[0]
        return tiled_logprobs(model.get_output_embeddings(), hidden_TD[pack.predictors_S], pack.targets_S, precision.compute)


def token_logprobs(logits_SV: torch.Tensor, targets_S: torch.Tensor) -> torch.Tensor:
    """log softmax(logits)[target] in float32, (S, V), (S,) → (S,).

    Example: two equal logits give log 0.5 = −0.6931 for either target.
    """
    return -F.cross_entropy(logits_SV.float(), targets_S, reduction="none")


def batch_logprobs(model: Any, batch: Batch, precision: Precision) -> torch.Tensor:
    """Log-probability of each row's completion, in nats, summed over its tokens: (R,).

    The logits at position t predict token t + 1, so the head runs from the last prompt token on (the earliest of
    the batch); what is before the completion or is padding is not scored.
    """
    attend_with(model)
    width = batch.input_ids_RT.shape[1]
    first = int(batch.completion_mask_RT.int().argmax(dim=1).min()) - 1  # the earliest position that predicts
    first = max(first, 0)
    with precision.autocast():
        keep = {"logits_to_keep": width - first} if keeps_logits(model) else {}
        logits_RTV = model(input_ids=batch.input_ids_RT, attention_mask=batch.attention_mask_RT, use_cache=False, **keep).logits
    logits_RTV = logits_RTV[:, -(width - first) : -1]
    scored_RT = batch.completion_mask_RT[:, first + 1 :]
    logprobs_S = token_logprobs(logits_RTV[scored_RT], batch.input_ids_RT[:, first + 1 :][scored_RT])
    return logprobs_S.new_zeros(scored_RT.shape).masked_scatter(scored_RT, logprobs_S).sum(dim=1)


def attend_with(model: Any, name: str = "sdpa") -> None:
    """Switch between packed attention and the usual one, which whoever takes the model from here expects."""
    now = model.config._attn_implementation
    if (now == NAME) != (name == NAME):
        model.set_attn_implementation(name)


def keeps_logits(model: Any) -> bool:
    """Whether it can be asked for the logits of the last positions only."""
    return "logits_to_keep" in inspect.signature(type(_bare(model)).forward).parameters
