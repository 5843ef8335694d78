"""Ask a version in memory the questions that endpoints are asked: the same words in, the same words out."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from training.endpoints.chat import Answer, Question, Reply
from training.endpoints.errors import PromptRefused
from training.generation.sampling import Policy, Request, encode_prompt, sample


def answer_all(policy: Policy, questions: Sequence[Question], *, pulse: Callable[[], None] = lambda: None) -> Iterator[
    tuple[int, Reply | PromptRefused]
]:  # fmt: skip
    """As `training.endpoints.pool.ask_all`, for a version's weights. Log-probabilities are told of the first token alone."""
    started = time.monotonic()
    requests = [Request(each.messages, each.seed or 0, each.temperature, each.top_p, each.max_new_tokens) for each in questions]
    for place, drawn in enumerate(sample(policy.model, policy.tokenizer, requests, before_each=pulse)):
        if drawn.error:
            yield place, PromptRefused(drawn.error)
            continue
        asked = questions[place]
        likeliest = (likeliest_first_tokens(policy, asked, asked.top_logprobs),) if asked.top_logprobs else ()
        answer = Answer(drawn.text, drawn.finish_reason, drawn.token_count, drawn.logprob, likeliest)
        read = len(encode_prompt(policy.tokenizer, asked.messages))
        yield place, Reply((answer,), read, drawn.token_count, time.monotonic() - started)


@torch.inference_mode()
def likeliest_first_tokens(policy: Policy, question: Question, top: int) -> dict[str, float]:
    """The text of the `top` likeliest first tokens of an answer with their log-probabilities, at temperature 1, in nats."""
    ids = encode_prompt(policy.tokenizer, question.messages)
    logits_V = policy.model(input_ids=torch.tensor([ids], device=policy.device), logits_to_keep=1).logits[0, -1].float().cpu()
    values, tokens = logits_V.log_softmax(dim=0).topk(min(top, len(logits_V)))
    found: dict[str, float] = {}
    for value, token in zip(values.tolist(), tokens.tolist(), strict=True):
        text = policy.tokenizer.decode([token])
        found[text] = math.log(math.exp(found.get(text, -math.inf)) + math.exp(value))
    return found
