"""Sample completions from a version's directory, so that each can be made again; and score given ones.

Each completion has a random generator of its own, seeded by its seed, and one draw of it decides each token. So, in
float32, what a request gives depends on the request alone: not on its batch, nor on its place in it. (bfloat16 sums
in another order in another batch, and a token may then fall the other way.)

Shapes: B rows of a batch, T tokens, V vocabulary.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.dpo.batches import Batch
from training.dpo.device import has_bfloat16
from training.dpo.errors import ModelError as TrainerModelError
from training.dpo.logprobs import Precision, batch_logprobs
from training.dpo.model import load_model, load_tokenizer
from training.versions.base_models import ModelError

KEPT_MODELS = 2  # in memory; one is loaded per directory and dtype
COMPACT_AT = 0.25  # finished rows leave the batch when they are at least this share of it: copying the cache costs a step

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Request:
    """One completion to sample. Temperature 0 is greedy: then seed and top-p do nothing."""

    messages: Messages
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128


@dataclass(frozen=True)
class Sample:
    """What came of a request. With `error` (the prompt cannot be answered, and why) the rest is empty."""

    text: str = ""
    token_ids: tuple[int, ...] = ()  # with the end-of-turn token, if it came
    finish_reason: str = ""  # "stop" or "length"
    logprob: float = 0.0  # log π(y|x), nats, summed over token_ids: at temperature 1, of the whole vocabulary, in float32
    error: str = ""

    @property
    def token_count(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True)
class Policy:
    """A version in memory."""

    directory: Path
    model: Any
    tokenizer: Any
    dtype: str
    why: str  # this dtype

    @property
    def device(self) -> torch.device:
        return self.model.device


# -- loading -----------------------------------------------------------------------------------------------

_loaded: OrderedDict[tuple[Path, str], Policy] = OrderedDict()
_lock = threading.Lock()


def load_policy(directory: Path, *, serve_dtype: str = "float32") -> Policy:
    """The version in `directory`, from memory if it was used lately. Raises ModelError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype, why = choose_dtype(serve_dtype, device)
    key = (Path(directory).resolve(), dtype)
    with _lock:
        if key not in _loaded:
            while len(_loaded) >= KEPT_MODELS:
                _loaded.popitem(last=False)
            try:
                model = load_model(key[0], device, getattr(torch, dtype))
                tokenizer = load_tokenizer(key[0])
            except TrainerModelError as error:
                raise ModelError(str(error)) from error
            _loaded[key] = Policy(key[0], model, tokenizer, dtype, why)
        _loaded.move_to_end(key)
        return _loaded[key]


def forget_policies() -> None:
    """Give the memory of all loaded versions back: a trainer is about to need it."""
    with _lock:
        _loaded.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def choose_dtype(serve_dtype: str, device: torch.device) -> tuple[str, str]:
    """What a version is computed in, with the reason. bfloat16 only if the version allows it and it is faster."""
    if serve_dtype != "bfloat16":
        return "float32", f"the version is served in {serve_dtype}: less would lose what it learned"
    if not has_bfloat16(device):
        return "float32", f"this {device.type} has no bfloat16 arithmetic, which would make it slower"
    return "bfloat16", f"the version allows it and this {device.type} is faster in it"


# -- sampling ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def sample(
    model: Any,
    tokenizer: Any,
    requests: Sequence[Request],
    *,
    batch_size: int = 16,
    before_each: Callable[[], None] = lambda: None,
) -> list[Sample]:
    """One Sample per request, in their order. `before_each` is called before each token: to stop by raising."""
    prompts = [_encode(model, tokenizer, request) for request in requests]
    samples: list[Sample | None] = [p if isinstance(p, Sample) else None for p in prompts]
    waiting = sorted((i for i, done in enumerate(samples) if done is None), key=lambda i: len(prompts[i]))
    for start in range(0, len(waiting), batch_size):
        places = waiting[start : start + batch_size]
        batch = _Batch(model, tokenizer, [requests[i] for i in places], [prompts[i] for i in places])
        while batch.rows:
            before_each()
            batch.step()
        for place, row in zip(places, batch.all_rows, strict=True):
            samples[place] = row.sample(tokenizer)
    return samples


@torch.inference_mode()
def stream(model: Any, tokenizer: Any, request: Request) -> Iterator[Sample]:
    """The completion as it grows: after each token all there is so far. The last one is what `sample` gives."""
    prompt = _encode(model, tokenizer, request)
    if isinstance(prompt, Sample):
        yield prompt
        return
    batch = _Batch(model, tokenizer, [request], [prompt])
    while batch.rows:
        batch.step()
        yield batch.all_rows[0].sample(tokenizer)


def encode_prompt(tokenizer: Any, messages: Messages) -> list[int]:
    """Ids of a prompt, as the trainer encodes it."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _encode(model: Any, tokenizer: Any, request: Request) -> list[int] | Sample:
    try:
        ids = encode_prompt(tokenizer, request.messages)
    except Exception as error:  # a template is a program of the model's maker: it raises what it likes
        return Sample(error=f"The model's chat template refuses this prompt ({error}). Change the prompt or the model.")
    room = context_length(model)
    if room and len(ids) >= room:
        return Sample(error=f"This prompt has {len(ids)} tokens, and the model takes {room} with its answer. Shorten the prompt.")
    return ids


def context_length(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def stop_ids(model: Any) -> list[int]:
    """The tokens that end an answer."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = model.config.eos_token_id
    return list(ids) if isinstance(ids, list | tuple) else [] if ids is None else [ids]


class _Row:
    """One completion in the making."""

    def __init__(self, request: Request, room: int) -> None:
        self.request = request
        self.limit = min(request.max_new_tokens, room)
        self.generator = torch.Generator().manual_seed(request.seed)
        self.token_ids: list[int] = []
        self.logprob = 0.0
        self.finish_reason = ""

    def append(self, token: int, logprob: float, stops: bool) -> None:
        self.token_ids.append(token)
        self.logprob += logprob
        if stops:
            self.finish_reason = "stop"
        elif len(self.token_ids) >= self.limit:
            self.finish_reason = "length"

    def sample(self, tokenizer: Any) -> Sample:
        ids = self.token_ids[:-1] if self.finish_reason == "stop" else self.token_ids
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = text.replace("\0", "")  # which a byte-level model can write, and no database takes
        return Sample(text, tuple(self.token_ids), self.finish_reason, self.logprob)


class _Batch:
    """Prompts padded on the left, a cache of keys and values, and one new token per row and step."""

    def __init__(self, model: Any, tokenizer: Any, requests: Sequence[Request], prompts: Sequence[Sequence[int]]) -> None:
        self.model = model
        self.stops = torch.tensor(stop_ids(model), dtype=torch.long)
        width = max(len(prompt) for prompt in prompts)
        room = context_length(model) or 2**31
        self.all_rows = [_Row(r, room - len(p)) for r, p in zip(requests, prompts, strict=True)]
        self.rows = list(self.all_rows)  # those still in the batch, in its order
        self.input_ids_BT = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
        self.mask_BT = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        self.cache: Any = None

    def step(self) -> None:
        positions_BT = (self.mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -self.input_ids_BT.shape[1] :]
        output = self.model(
            input_ids=self.input_ids_BT,
            attention_mask=self.mask_BT,
            position_ids=positions_BT,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values
        logits_BV = output.logits[:, -1].float().cpu()
        tokens_B = choose_tokens(logits_BV, [row.request for row in self.rows], [row.generator for row in self.rows])
        logprobs_B = logits_BV.gather(1, tokens_B[:, None])[:, 0] - logits_BV.logsumexp(dim=1)
        stops_B = torch.isin(tokens_B, self.stops)
        for row, token, logprob, stops in zip(self.rows, tokens_B.tolist(), logprobs_B.tolist(), stops_B.tolist(), strict=True):
            if not row.finish_reason:
                row.append(token, logprob, stops)
        self._continue_with(tokens_B.to(self.model.device))

    def _continue_with(self, tokens_B: torch.Tensor) -> None:
        self.input_ids_BT = tokens_B[:, None]
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(self.rows), 1)], dim=1)
        going = [place for place, row in enumerate(self.rows) if not row.finish_reason]
        if not going:
            self.rows = []
        elif len(self.rows) - len(going) >= COMPACT_AT * len(self.rows):
            keep = torch.tensor(going, device=self.model.device)
            self.cache.batch_select_indices(keep)
            self.input_ids_BT, self.mask_BT = self.input_ids_BT[keep], self.mask_BT[keep]
            self.rows = [self.rows[place] for place in going]


def choose_tokens(logits_BV: torch.Tensor, requests: Sequence[Request], generators: Sequence[torch.Generator]) -> torch.Tensor:
    """The next token of each row, (B, V) float32 → (B,).

    With q_v ~ Exp(1), argmax p_v / q_v is a draw from p (the exponential race). Unlike a draw from the cumulated
    distribution it is not moved by rounding in far-away tokens, so a sum in another order gives the same token.
    """
    chosen_B = logits_BV.argmax(dim=1)
    drawn = [place for place, request in enumerate(requests) if request.temperature > 0]
    if not drawn:
        return chosen_B
    temperature = torch.tensor([requests[place].temperature for place in drawn])
    top_p = torch.tensor([requests[place].top_p for place in drawn])
    probs_DV = torch.softmax(logits_BV[drawn] / temperature[:, None], dim=1)
    if bool((top_p < 1).any()):
        probs_DV = keep_top_p(probs_DV, top_p)
    race_DV = torch.empty(probs_DV.shape, dtype=torch.float64)  # in float32, 2^-24 would be the smallest step
    for row, place in enumerate(drawn):
        race_DV[row].uniform_(generator=generators[place])
    race_DV.log_().neg_()  # −ln u ~ Exp(1); four times as fast as `exponential_`
    chosen_B[drawn] = probs_DV.div_(race_DV).argmax(dim=1)
    return chosen_B


def keep_top_p(probs_BV: torch.Tensor, top_p_B: torch.Tensor) -> torch.Tensor:
    """Zero all but the fewest most likely tokens whose probabilities reach top_p; not renormalised.

    Example: (0.5, 0.3, 0.2) with top_p 0.7 → (0.5, 0.3, 0).
    """
    sorted_BV, order_BV = probs_BV.sort(dim=1, descending=True, stable=True)
    before_BV = sorted_BV.cumsum(dim=1) - sorted_BV  # what the more likely tokens reach without this one
    sorted_BV = sorted_BV.masked_fill((before_BV >= top_p_B[:, None]) & (top_p_B[:, None] < 1), 0.0)
    return torch.zeros_like(probs_BV).scatter(1, order_BV, sorted_BV)


# -- scoring -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def score(
    model: Any,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int = 8,
    before_each: Callable[[], None] = lambda: None,
) -> list[float]:
    """log π(y|x) of (prompt ids, completion ids), in nats, summed over the completion; in their order.

    Takes ids, not text: the tokens that were sampled are not always those that their text would be encoded as.
    """
    precision = Precision(model.device, torch.float32)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    scores = [0.0] * len(pairs)
    for start in range(0, len(order), batch_size):
        before_each()
        places = order[start : start + batch_size]
        sums = batch_logprobs(model, _padded([pairs[i] for i in places], model.device), precision)
        for place, value in zip(places, sums.tolist(), strict=True):
            scores[place] = value
    return scores


def _padded(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    rows = [[*prompt, *answer] for prompt, answer in pairs]
    input_ids_RT = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    places_T = torch.arange(width, device=device)
    ends_R1 = torch.tensor([[len(row)] for row in rows], device=device)
    starts_R1 = torch.tensor([[len(prompt)] for prompt, _ in pairs], device=device)
    return Batch(
        input_ids_RT,
        (places_T < ends_R1).long(),
        (places_T >= starts_R1) & (places_T < ends_R1),
        tokens=sum(len(row) for row in rows),
    )
