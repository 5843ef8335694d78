"""The worker's part of an inquiry: answers to prompts, or log-probabilities and implicit rewards of answers.

What is asked:
    generate: {"prompts": [messages, …], "n": 2, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 128, "seed": 7}
    score:    {"answers": [{"messages": […], "text": "…", "truncated": false}, …], "beta": 0.1}
"""

from collections.abc import Callable
from typing import Any

from training.dpo.tokens import completion_ids, find_ending
from training.endpoints.chat import Client, Question
from training.endpoints.errors import PromptRefused
from training.endpoints.pool import ask_all
from training.endpoints.probe import ensure_tested
from training.generation.filling import seed_of
from training.generation.sampling import Policy, Request, context_length, encode_prompt, load_policy, sample, score
from training.inquiries.asking import reference_of
from training.models import Inquiry, Version
from training.models.inquiry import InquiryKind
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through

BATCH = 16


def run_inquiry(inquiry_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the inquiry and answer it. Does nothing if it is not queued.

    `check` is called before each token; when it raises Stopped, the inquiry goes back into the queue.
    """

    def work(inquiry: Inquiry) -> None:
        kind = (InquiryKind(inquiry.kind), inquiry.version.is_endpoint)
        answer = ANSWERS[kind](inquiry, Pulse(inquiry, check))
        jobs.finish(job=inquiry, answer=answer, progress=inquiry.total)

    see_through(kind=Inquiry, pk=inquiry_id, work=work)


def _generate(inquiry: Inquiry, pulse: Callable[[], None]) -> list[dict[str, Any]]:
    """One row for each prompt, in their order, with `n` completions."""
    asked, policy = inquiry.asked, _load(inquiry.version)
    requests = [
        Request(
            messages=messages,
            seed=seed_of(asked["seed"], place, number),
            temperature=asked["temperature"],
            top_p=asked["top_p"],
            max_new_tokens=asked["max_new_tokens"],
        )
        for place, messages in enumerate(asked["prompts"])
        for number in range(asked["n"])
    ]
    answers = []
    for start in range(0, len(requests), BATCH):
        answers += sample(policy.model, policy.tokenizer, requests[start : start + BATCH], before_each=pulse)
        jobs.heartbeat(job=inquiry, progress=len(answers))
    rows = []
    for place in range(len(asked["prompts"])):
        mine = answers[place * asked["n"] : (place + 1) * asked["n"]]
        completions = [
            {"text": each.text, "finish_reason": each.finish_reason, "tokens": each.token_count, "logprob": each.logprob}
            for each in mine
            if not each.error
        ]
        rows.append({"completions": completions, "error": mine[0].error})
    return rows


def _ask_endpoint(inquiry: Inquiry, pulse: Callable[[], None]) -> list[dict[str, Any]]:
    """The same from a model server; it may know no log-probabilities."""
    asked = inquiry.asked
    rows: list[dict[str, Any]] = [{"completions": [], "error": ""} for _ in asked["prompts"]]
    endpoint = ensure_tested(inquiry.version.endpoint)
    places = [place for place in range(len(rows)) for _ in range(asked["n"])]
    questions = [
        Question(
            messages=asked["prompts"][place],
            seed=seed_of(asked["seed"], place, number) % 2**31,
            temperature=asked["temperature"],
            top_p=asked["top_p"],
            max_new_tokens=asked["max_new_tokens"],
            logprobs=endpoint.offers("logprobs"),
        )
        for number, place in enumerate(places)
    ]
    with Client(endpoint) as client:
        for number, reply in ask_all(client, questions, pulse=pulse):
            row = rows[places[number]]
            if isinstance(reply, PromptRefused):
                row["error"] = str(reply)
                continue
            row["completions"] += [
                {"text": each.text, "finish_reason": each.finish_reason, "tokens": each.token_count, "logprob": each.logprob}
                for each in reply.answers[:1]
            ]
            jobs.heartbeat(job=inquiry, progress=inquiry.progress + 1)
    return rows


def _score(inquiry: Inquiry, pulse: Callable[[], None]) -> list[dict[str, Any]]:
    """One row for each answer, in their order: log π(y|x) with its end-of-turn token, in nats; and β times its distance from
    the log-probability under the reference, if the version has one."""
    policy = _load(inquiry.version)
    ending, pairs, rows = find_ending(policy.tokenizer), [], []
    longest = context_length(policy.model)
    for each in inquiry.asked["answers"]:
        row: dict[str, Any] = {"tokens": 0, "logprob": None, "reference_logprob": None, "reward": None, "error": ""}
        rows.append(row)
        try:
            prompt = encode_prompt(policy.tokenizer, each["messages"])
        except Exception as error:  # a template is a program of the model's maker: it raises what it likes
            row["error"] = f"The model's chat template refuses this prompt ({error}). Change the prompt or the model."
            continue
        ids = completion_ids(policy.tokenizer, each["text"], ending, truncated=each["truncated"])
        if longest and len(prompt) + len(ids) > longest:
            row["error"] = f"Prompt and answer have {len(prompt) + len(ids)} tokens; the model takes {longest}."
            continue
        row["tokens"] = len(ids)
        pairs.append((row, (prompt, ids)))
    _fill(pairs, "logprob", policy, pulse)
    if (reference := reference_of(inquiry.version)) is not None:
        _fill(pairs, "reference_logprob", _load(reference), pulse)
        for row, _ in pairs:
            row["reward"] = inquiry.asked["beta"] * (row["logprob"] - row["reference_logprob"])
    return rows


def _fill(pairs: list[tuple[dict[str, Any], tuple[Any, Any]]], name: str, policy: Policy, pulse: Callable[[], None]) -> None:
    values = score(policy.model, [ids for _, ids in pairs], before_each=pulse) if pairs else []
    for (row, _), value in zip(pairs, values, strict=True):
        row[name] = value


def _load(version: Version) -> Policy:
    return load_policy(version.path, serve_dtype=version.serve_dtype)


ANSWERS: dict[tuple[InquiryKind, bool], Callable[[Inquiry, Callable[[], None]], list[dict[str, Any]]]] = {
    (InquiryKind.GENERATE, False): _generate,
    (InquiryKind.GENERATE, True): _ask_endpoint,
    (InquiryKind.SCORE, False): _score,
}
