"""The worker's part of an inquiry: answers to prompts, or log-probabilities and implicit rewards of answers.

What is asked:
    generate: {"prompts": [messages, …], "n": 2, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 128, "seed": 7}
    score:    {"answers": [{"messages": […], "text": "…", "truncated": false}, …], "beta": 0.1}
"""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils import timezone

from training import jobs
from training.base_models import ModelError
from training.chat import Client, Question
from training.dpo.tokens import completion_ids, find_ending
from training.endpoint_errors import EndpointError, PromptRefused
from training.endpoint_pool import ask_all
from training.endpoint_probe import ensure_tested
from training.filling import Interrupted, seed_of
from training.inquiries import reference_of
from training.jobs import LostClaim
from training.models import Inquiry, Version
from training.models.inquiry import InquiryKind
from training.sampling import Policy, Request, context_length, encode_prompt, load_policy, sample, score
from training.stopping import Stopped

logger = logging.getLogger(__name__)

BATCH = 16


def run_inquiry(inquiry_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the inquiry and answer it. Does nothing if it is not queued.

    `check` is called before each token; when it raises Stopped, the inquiry goes back into the queue.
    """
    inquiry = jobs.claim(kind=Inquiry, pk=inquiry_id)
    if inquiry is None:
        return
    try:
        kind = (InquiryKind(inquiry.kind), inquiry.version.is_endpoint)
        answer = ANSWERS[kind](inquiry, _pulse(inquiry, check))
        jobs.finish(job=inquiry, answer=answer, progress=inquiry.total)
    except Interrupted:
        jobs.cancelled(job=inquiry)
    except Stopped:
        jobs.release(job=inquiry)
    except LostClaim as lost:
        logger.warning("%s", lost)
    except (ModelError, EndpointError) as error:
        jobs.fail(job=inquiry, error=str(error))
    except Exception as error:
        logger.exception("inquiry %s failed", inquiry.pk)
        jobs.fail(job=inquiry, error=f"{type(error).__name__}: {error}. The worker's log has the details.")
    except BaseException:  # the worker is being stopped at once: another goes on
        jobs.release(job=inquiry)
        raise


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
            max_tokens=asked["max_new_tokens"],
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


def _pulse(inquiry: Inquiry, check: Callable[[], None]) -> Callable[[], None]:
    """Called before each token: a heartbeat now and then, and a stop when somebody has cancelled or the worker ends."""
    last = timezone.now()

    def beat() -> None:
        nonlocal last
        check()
        if (timezone.now() - last).total_seconds() >= settings.HEARTBEAT_SECONDS:
            last = timezone.now()
            if jobs.heartbeat(job=inquiry):
                raise Interrupted

    return beat
