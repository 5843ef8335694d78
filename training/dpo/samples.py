"""What the policy answers, as it learns: the same few prompts at the start, on the way and at the end, answered greedily.

Nothing of the training depends on it: no random number is drawn, no gradient is made, and where it fails the run goes on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.dpo import distributed
from training.dpo.data import Message
from training.dpo.logprobs import attend_with, keeps_logits


@dataclass(frozen=True)
class Sampled:
    """A prompt that is answered: of which row, in words and as token ids."""

    line: int
    id: Any
    messages: tuple[Message, ...]
    prompt: tuple[int, ...]


@dataclass(frozen=True)
class Samples:
    """Which prompts, of which part ("heldout" or "train"), with what they are answered."""

    prompts: list[Sampled]
    of: str
    tokenizer: Any
    end_of_turn: int

    def answers(self, model: Any, device: torch.device, limit: int, before_each: Callable[[], None]) -> dict[str, Any]:
        """The event: for each prompt the answer, its tokens, and whether it ended by itself within `limit` tokens."""
        began = time.monotonic()
        rows = greedy(model, [each.prompt for each in self.prompts], limit, self.end_of_turn, device, before_each)
        return {
            "of": self.of,
            "limit": limit,
            "samples": [
                {
                    "line": each.line, "id": each.id, "prompt": list(each.messages), "tokens": len(row),
                    "answer": self.tokenizer.decode(row, skip_special_tokens=True), "ended": row[-1:] == [self.end_of_turn],
                }
                for each, row in zip(self.prompts, rows, strict=True)
            ],
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip


@torch.no_grad()
def greedy(
    model: Any, prompts: Sequence[tuple[int, ...]], limit: int, end: int, device: torch.device, before_each: Callable[[], None]
) -> list[list[int]]:
    """The likeliest token after each of N prompts, and so on, up to `end` or `limit` tokens: in the precision of the weights.

    `before_each` is called before each token. Several processes all go through the model equally often.
    """
    attend_with(model)
    width = max(map(len, prompts))
    ids_NT = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    seen_NT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    places_NT = (seen_NT.cumsum(1) - 1).clamp(min=0)
    keep = {"logits_to_keep": 1} if keeps_logits(model) else {}
    rows: list[list[int]] = [[] for _ in prompts]
    cache = None
    for _ in range(min(limit, _room(model, width))):
        before_each()
        out = model(
            input_ids=ids_NT, attention_mask=seen_NT, position_ids=places_NT, past_key_values=cache, use_cache=True, **keep
        )
        cache, ids_N = out.past_key_values, out.logits[:, -1].argmax(1)
        for row, token in zip(rows, ids_N.tolist(), strict=True):
            if row[-1:] != [end]:
                row.append(token)
        if not distributed.total(torch.tensor(sum(row[-1:] != [end] for row in rows))):
            break
        ids_NT, places_NT = ids_N[:, None], places_NT[:, -1:] + 1
        seen_NT = torch.cat([seen_NT, seen_NT.new_ones(len(rows), 1)], 1)
    return rows


def _room(model: Any, width: int) -> int:
    """Tokens that the model takes after the longest prompt; 1 at least."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return max(1, most - width) if most else 2**31
