"""What a version is like: samples on fixed prompts, length, how often it stops by itself, distance from another."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotate.models import Completion, Project, Prompt
from annotate.models.completion import FinishReason
from training.endpoints.description import describe_endpoint
from training.generation.sampling import Messages, Policy, Request, Sample, encode_prompt, load_policy, sample, score
from training.models import Version
from training.versions.answer_figures import figures_of_answers

SHOWN_PROMPTS = 8  # answered greedily, to be read
DRAWN_PROMPTS = 16  # answered once as the project samples, for the figures


# -- describing a version ----------------------------------------------------------------------------------


def describe_version(*, version: Version, policy: Policy | None = None, check: Callable[[], None] = lambda: None) -> Version:
    """Greedy answers to fixed held-out prompts, as completions, and figures in `metrics`; of its parent too.

    `mean_tokens` and `ended_share` (answers that end by themselves) are means over DRAWN_PROMPTS held-out prompts,
    answered as the project samples, with what else such a draw tells (`figures_of_answers`); `kl` is the distance from the
    base on them (`kl_estimate`), with `kl_error`, and `kl_reference` that from the run's reference, if it is another.
    What is there already is kept: a second call does nothing. `check` is called before each token: to stop by raising.
    """
    if version.parent and "described_at" not in version.parent.metrics:
        describe_version(version=version.parent, check=check)
    if "described_at" in version.metrics:
        return version
    prompts = fixed_prompts(version.project, DRAWN_PROMPTS)
    metrics: dict[str, object] = {"described_prompts": len(prompts)}
    if prompts and version.is_endpoint:
        metrics |= describe_endpoint(version=version, shown=prompts[:SHOWN_PROMPTS], drawn=prompts, check=check)
    elif prompts:
        policy = policy or load_policy(version.path, serve_dtype=version.serve_dtype)
        _answer_greedily(version, policy, prompts[:SHOWN_PROMPTS], check)
        metrics |= _figures(version, policy, [prompt.messages for prompt in prompts], check)
    with transaction.atomic():
        current = Version.objects.select_for_update(no_key=True).get(pk=version.pk)
        current.metrics |= {**metrics, "described_at": timezone.now().isoformat(timespec="seconds")}
        current.save(update_fields=["metrics"])
    version.metrics = current.metrics
    return version


def showing_life(version: Version, check: Callable[[], None]) -> Callable[[], None]:
    """`check`, which also shows every few seconds that a worker is at this version (`Version.describing_at`)."""
    shown = -math.inf

    def check_and_show() -> None:
        nonlocal shown
        check()
        if time.monotonic() - shown >= settings.HEARTBEAT_SECONDS:
            shown = time.monotonic()
            Version.objects.filter(pk=version.pk).update(describing_at=timezone.now())

    return check_and_show


def fixed_prompts(project: Project, count: int) -> list[Prompt]:
    """The same held-out prompts for each version: those with the lowest hashes."""
    return list(project.prompts.heldout().order_by("content_hash")[:count])


def _answer_greedily(version: Version, policy: Policy, prompts: Sequence[Prompt], check: Callable[[], None]) -> None:
    answered = set(version.completions.filter(temperature=0, prompt__in=prompts).values_list("prompt_id", flat=True))
    waiting = [prompt for prompt in prompts if prompt.pk not in answered]
    limit = version.project.max_new_tokens
    requests = [Request(prompt.messages, temperature=0.0, max_new_tokens=limit) for prompt in waiting]
    answers = sample(policy.model, policy.tokenizer, requests, before_each=check)
    Completion.objects.bulk_create(
        Completion(
            prompt=prompt,
            version=version,
            text=answer.text,
            temperature=0.0,
            top_p=1.0,
            max_new_tokens=limit,
            seed=0,
            dtype=policy.dtype,
            token_count=answer.token_count,
            finish_reason=answer.finish_reason,
            logprob=answer.logprob,
        )
        for prompt, answer in zip(waiting, answers, strict=True)
        if answer.text
    )


def _figures(version: Version, policy: Policy, prompts: Sequence[Messages], check: Callable[[], None]) -> dict[str, float]:
    project = version.project
    requests = [
        Request(messages, version.pk + place, project.temperature, project.top_p, project.max_new_tokens)
        for place, messages in enumerate(prompts)
    ]
    answers = sample(policy.model, policy.tokenizer, requests, before_each=check)
    good = [answer for answer in answers if not answer.error]
    if not good:
        return {}
    figures = figures_of_answers(
        [answer.text for answer in good],
        [answer.token_count for answer in good],
        [answer.finish_reason == FinishReason.STOP for answer in good],
    )
    if version.parent:
        if (project.temperature, project.top_p) != (1.0, 1.0):  # else these answers are draws from the policy itself
            answers = draw(policy, prompts, seed=version.pk, max_new_tokens=project.max_new_tokens, check=check)
        for name, other in measured_against(version).items():
            kl = kl_of(policy, load_policy(other.path, serve_dtype=other.serve_dtype), prompts, answers, check=check)
            figures |= {name: round(kl.mean, 4)} | ({f"{name}_error": round(kl.error, 4)} if kl.count > 1 else {})
    return figures


def measured_against(version: Version) -> dict[str, Version]:
    """`kl`: the base model; `kl_reference`: the reference of its run, where that is another."""
    found = {"kl": base_of(version)}
    if version.run_id and version.run.reference_id != found["kl"].pk:
        found["kl_reference"] = version.run.reference
    return {name: other for name, other in found.items() if not other.is_endpoint}


def base_of(version: Version) -> Version:
    """The version that all its ancestors come from."""
    while version.parent:
        version = version.parent
    return version


# -- distance ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error, over `count` independent draws."""

    mean: float
    error: float
    count: int


def mean_and_error(values: Sequence[float]) -> Estimate:
    """Example: (1, 3) → 2 ± 1 (standard deviation √2, over √2)."""
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(statistics.fmean(values), spread, len(values))


def kl_estimate(
    policy: Policy,
    against: Policy,
    prompts: Sequence[Messages],
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    check: Callable[[], None] = lambda: None,
) -> Estimate:
    """KL(π ‖ π_base) in nats per answer: the mean of log π(y|x) − log π_base(y|x) over one fresh draw y ~ π per prompt.

    Drawn at temperature 1 from the whole vocabulary, else it would be another distribution's distance. Answers cut at
    the limit count as far as they go. Unbiased; its error is that of a mean.
    """
    answers = draw(policy, prompts, seed=seed, max_new_tokens=max_new_tokens, check=check)
    return kl_of(policy, against, prompts, answers, check=check)


def draw(
    policy: Policy, prompts: Sequence[Messages], *, seed: int, max_new_tokens: int, check: Callable[[], None] = lambda: None
) -> list[Sample]:
    """One y ~ π for each prompt."""
    requests = [Request(messages, seed + place, max_new_tokens=max_new_tokens) for place, messages in enumerate(prompts)]
    return sample(policy.model, policy.tokenizer, requests, before_each=check)


def kl_of(
    policy: Policy,
    against: Policy,
    prompts: Sequence[Messages],
    answers: Sequence[Sample],
    *,
    check: Callable[[], None] = lambda: None,
) -> Estimate:
    """The same from answers that are there: draws of `policy` at temperature 1, top-p 1, one for each of `prompts`."""
    pairs = [
        (encode_prompt(policy.tokenizer, messages), answer.token_ids)
        for messages, answer in zip(prompts, answers, strict=True)
        if not answer.error
    ]
    mine, theirs = (score(each.model, pairs, before_each=check) for each in (policy, against))
    return mean_and_error([a - b for a, b in zip(mine, theirs, strict=True)])
