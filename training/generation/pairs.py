"""Fill the queue: pairs of completions that the serving version samples, one for each prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import F

from annotate.models import Project, Prompt
from training.endpoints.adapters import endpoint_for
from training.endpoints.generation import fill_from_endpoint
from training.generation.filling import (
    MOST_TRIES,
    add_pair,
    choose_prompts,
    goes_before_pairs,
    pairs_left,
    pairs_wanted,
    priority_of,
    required_now,
    seed_of,
    store_answer,
    why_nothing,
)  # fmt: skip
from training.generation.named_makers import names_its_maker
from training.generation.sampling import Policy, Request, Sample, load_policy, sample
from training.generation.unanswered import unanswered_prompts
from training.models import Generation, Version
from training.rewards.best_of import best_and_worst
from training.rewards.implicit import has_rewards
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through
from training.worker.stopping import Postponed

MOST_AT_ONCE = 32  # answers
FIRST_BATCH_PAIRS = 2  # so that somebody who waits has a comparison soon
BATCH_PAIRS = 8


@dataclass
class Pairs:
    """What came of one batch of prompts."""

    good: list[tuple[Prompt, list[tuple[Request, Sample]]]] = field(default_factory=list)
    identical: list[Prompt] = field(default_factory=list)
    empty: list[Prompt] = field(default_factory=list)
    named: list[Prompt] = field(default_factory=list)  # an answer names its maker
    refused: list[tuple[Prompt, str]] = field(default_factory=list)  # with the reason
    resampled: int = 0


def run_generation(generation_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the generation and see it through. Does nothing if it is not queued.

    `check` is called before each token; when it raises Stopped, the generation goes back into the queue.
    """
    see_through(
        kind=Generation,
        pk=generation_id,
        work=lambda generation: generate_pairs(generation=generation, check=check),
        advice="The clock tries again later.",
    )


def generate_pairs(*, generation: Generation, policy: Policy | None = None, check: Callable[[], None] = lambda: None) -> None:
    """Work on a claimed generation until the queue is full, its version no longer serves, or no prompt is left.

    Each batch is committed with its progress in one transaction, so a generation that is taken up again repeats and
    loses nothing. Raises Interrupted (cancelled), Postponed (after a batch), LostClaim, WorkFailed,
    and what `check` raises.
    """
    project, version = generation.project, generation.version
    if not generation.total:
        generation.total = min(pairs_wanted(project), unanswered_prompts(version).count())
        jobs.heartbeat(job=generation, total=generation.total)
    if pairs_left(generation) <= 0:
        return jobs.finish(job=generation)
    pulse = Pulse(generation, check)
    if endpoint := endpoint_for(version):
        refusals = fill_from_endpoint(generation, endpoint, pulse)
    else:
        refusals = _fill_from_weights(generation, policy, pulse)
    if not generation.progress and (reason := why_nothing(project, generation, refusals)):
        jobs.fail(job=generation, error=reason)
    else:
        jobs.finish(job=generation)


def _fill_from_weights(generation: Generation, policy: Policy | None, pulse: Pulse) -> list[str]:
    """Batch by batch. Returns why prompts were refused."""
    project, version = generation.project, generation.version
    policy = policy or load_policy(version.path, serve_dtype=version.serve_dtype)
    by_reward = version if project.answers_per_pair > 2 and has_rewards(version) else None
    tried: set[int] = set()
    refusals: list[str] = []
    size = FIRST_BATCH_PAIRS
    while (left := pairs_left(generation)) > 0:
        prompts = choose_prompts(version=version, count=min(size, left), seed=generation.pk, besides=tried)
        if not prompts:
            break
        pairs = sample_pairs(
            policy, prompts, project=project, seed=generation.pk, round_=generation.progress, pulse=pulse, version=by_reward
        )
        tried |= {prompt.pk for prompt in prompts}
        refusals += [reason for _, reason in pairs.refused]
        _store(generation, pairs, policy)
        size = BATCH_PAIRS
        if goes_before_pairs(generation.project):
            raise Postponed
    return refusals


# -- their answers -----------------------------------------------------------------------------------------


def sample_pairs(
    policy: Policy, prompts: Sequence[Prompt], *, project: Project, seed: int, round_: int = 0, pulse=lambda: None,
    version: Version | None = None,
) -> Pairs:  # fmt: skip
    """Two different answers to each prompt, by seeds that follow from the arguments. Up to MOST_TRIES tries.

    With `version`, the best and the worst by its implicit reward of as many as the project samples for a pair.
    """
    sampled = project.answers_per_pair if version else 2
    pairs = Pairs()
    waiting = list(prompts)
    for attempt in range(MOST_TRIES):
        if not waiting:
            break
        pairs.resampled += len(waiting) if attempt else 0
        requests = [
            Request(
                messages=prompt.messages,
                seed=seed_of(seed, round_, prompt.pk, attempt, side),
                temperature=project.temperature,
                top_p=project.top_p,
                max_new_tokens=project.max_new_tokens,
            )
            for prompt in waiting
            for side in range(sampled)
        ]
        answers = sample(policy.model, policy.tokenizer, requests, batch_size=MOST_AT_ONCE, before_each=pulse)
        both = list(zip(requests, answers, strict=True))
        faulty = {"empty": [], "identical": [], "named": []}
        for place, prompt in enumerate(waiting):
            pair = both[sampled * place : sampled * (place + 1)]
            if sampled > 2 and not pair[0][1].error:
                pair = best_and_worst(version, policy, prompt, pair)
            if fault := _fault(pair, pairs, prompt, project):
                faulty[fault].append(prompt)
        pairs.empty, pairs.identical, pairs.named = faulty["empty"], faulty["identical"], faulty["named"]
        waiting = [*pairs.empty, *pairs.identical, *pairs.named]
    return pairs


def _fault(pair: list[tuple[Request, Sample]], pairs: Pairs, prompt: Prompt, project: Project) -> str:
    """Put a pair where it belongs; "empty", "identical" or "named" if it has to be sampled again."""
    (_, first), (_, second) = pair
    if first.error:
        pairs.refused.append((prompt, first.error))
        return ""
    if not first.text.strip() or not second.text.strip():
        return "empty"
    if first.text.strip() == second.text.strip():
        return "identical"
    if any(names_its_maker(answer.text, prompt=prompt, project=project) for answer in (first, second)):
        return "named"
    pairs.good.append((prompt, pair))
    return ""


@transaction.atomic
def _store(generation: Generation, pairs: Pairs, policy: Policy) -> None:
    """The pairs of a batch, and the progress they make, together or not at all."""
    project, version = generation.project, generation.version
    jobs.heartbeat(  # first: after a lost claim nothing is written
        job=generation,
        progress=generation.progress + len(pairs.good),
        dropped_identical=F("dropped_identical") + len(pairs.identical),
        dropped_empty=F("dropped_empty") + len(pairs.empty),
        dropped_named=F("dropped_named") + len(pairs.named),
        dropped_refused=F("dropped_refused") + len(pairs.refused),
        resampled=F("resampled") + pairs.resampled,
    )
    generation.refresh_from_db(fields=["dropped_identical", "dropped_empty", "dropped_named", "dropped_refused", "resampled"])
    priority = priority_of(project, version)
    required = required_now(project)
    drawn_from = project.answers_per_pair if project.answers_per_pair > 2 and has_rewards(version) else 1
    for prompt, pair in pairs.good:
        first, second = (
            store_answer(prompt, version, request, answer, best_of=drawn_from, dtype=policy.dtype) for request, answer in pair
        )
        add_pair(project=project, prompt=prompt, first=first, second=second, priority=priority, required=required)
