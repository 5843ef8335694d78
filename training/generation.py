"""Fill the queue: pairs of completions that the serving version samples, one for each prompt."""

import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from annotate.models import Comparison, Completion, Project, Prompt
from annotate.models.comparison import Purpose
from training import jobs, tasks
from training.base_models import ModelError
from training.jobs import LostClaim
from training.models import Generation, Run, Version
from training.models.job import JobState
from training.registry import serving_version
from training.sampling import Policy, Request, Sample, load_policy, sample
from training.stopping import Stopped
from training.unanswered import unanswered_prompts

logger = logging.getLogger(__name__)

FIRST_BATCH_PAIRS = 2  # so that somebody who waits has a comparison soon
BATCH_PAIRS = 8
MOST_TRIES = 3  # to get two different answers to one prompt


class Interrupted(Exception):
    """Sampling stops between two tokens: cancelled."""


class Postponed(Exception):
    """A run, or the version that one has made, waits for a worker. The generation goes back into the queue, behind it."""


@dataclass
class Pairs:
    """What came of one batch of prompts."""

    good: list[tuple[Prompt, list[tuple[Request, Sample]]]] = field(default_factory=list)
    identical: list[Prompt] = field(default_factory=list)
    empty: list[Prompt] = field(default_factory=list)
    refused: list[tuple[Prompt, str]] = field(default_factory=list)  # with the reason
    resampled: int = 0


def pairs_wanted(project: Project) -> int:
    """How many comparisons the queue lacks: 0 until it is below its low mark, then up to its high mark."""
    waiting = Comparison.objects.claimable().filter(project=project).count()
    return project.queue_high - waiting if waiting < project.queue_low else 0


def run_generation(generation_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the generation and see it through. Does nothing if it is not queued.

    `check` is called before each token; when it raises Stopped, the generation goes back into the queue.
    """
    generation = jobs.claim(kind=Generation, pk=generation_id)
    if generation is None:
        return
    try:
        generate_pairs(generation=generation, check=check)
    except Interrupted:
        jobs.cancelled(job=generation)
    except (Postponed, Stopped):
        jobs.release(job=generation)
    except LostClaim as lost:
        logger.warning("%s", lost)
    except ModelError as error:
        jobs.fail(job=generation, error=str(error))
    except Exception as error:
        logger.exception("generation %s failed", generation.pk)
        jobs.fail(
            job=generation,
            error=f"{type(error).__name__}: {error}. The worker's log has the details; the clock tries again later.",
        )
    except BaseException:  # the worker is being stopped at once: another goes on
        jobs.release(job=generation)
        raise


def generate_pairs(*, generation: Generation, policy: Policy | None = None, check: Callable[[], None] = lambda: None) -> None:
    """Work on a claimed generation until the queue is full, its version no longer serves, or no prompt is left.

    Each batch is committed with its progress in one transaction, so a generation that is taken up again repeats and
    loses nothing. Raises Interrupted (cancelled), Postponed (after a batch), LostClaim, ModelError, and what `check` raises.
    """
    project, version = generation.project, generation.version
    if not generation.total:
        generation.total = min(pairs_wanted(project), unanswered_prompts(version).count())
        jobs.heartbeat(job=generation, total=generation.total)
    if _left(generation) <= 0:
        return jobs.finish(job=generation)
    policy = policy or load_policy(version.path, serve_dtype=version.serve_dtype)
    pulse = _Pulse(generation, check)
    tried: set[int] = set()
    refusals: list[str] = []
    size = FIRST_BATCH_PAIRS
    while (left := _left(generation)) > 0:
        prompts = choose_prompts(version=version, count=min(size, left), seed=generation.pk, besides=tried)
        if not prompts:
            break
        pairs = sample_pairs(policy, prompts, project=project, seed=generation.pk, round_=generation.progress, pulse=pulse)
        tried |= {prompt.pk for prompt in prompts}
        refusals += [reason for _, reason in pairs.refused]
        _store(generation, pairs, policy)
        size = BATCH_PAIRS
        if _something_goes_first():
            raise Postponed
    if not generation.progress and (reason := _why_nothing(project, generation, refusals)):
        jobs.fail(job=generation, error=reason)
    else:
        jobs.finish(job=generation)


def _something_goes_first() -> bool:
    urgent = DBTaskResult.objects.filter(
        task_path=tasks.describe_version.module_path, priority=tasks.AFTER_A_RUN, status=TaskResultStatus.READY
    )
    return Run.objects.filter(state=JobState.QUEUED).exists() or urgent.exists()


def _left(generation: Generation) -> int:
    """Pairs still to make. None once another version serves: its own generation will be started."""
    serving = serving_version(generation.project)
    if serving is None or serving.pk != generation.version_id:
        return 0
    waiting = Comparison.objects.claimable().filter(project=generation.project).count()
    return min(generation.total - generation.progress, generation.project.queue_high - waiting)


def _why_nothing(project: Project, generation: Generation, refusals: Sequence[str]) -> str:
    if refusals:
        return f"None of the prompts tried could be used. The first: {refusals[0]}"
    if generation.dropped_identical or generation.dropped_empty:
        return (
            f"No pair was kept: {generation.dropped_identical} prompts got twice the same answer and "
            f"{generation.dropped_empty} an empty one, {MOST_TRIES} times each. "
            f"Raise the temperature in the project's settings (it is {project.temperature:g})."
        )
    return ""


# -- which prompts -----------------------------------------------------------------------------------------


def choose_prompts(*, version: Version, count: int, seed: int, besides: Iterable[int] = ()) -> list[Prompt]:
    """Of those without a pair of this version, those with fewest comparisons; ties in an order that `seed` shuffles.

    Of both splits: held-out prompts are judged too, to measure with.
    """
    besides = set(besides)
    counted = unanswered_prompts(version).annotate(all=Count("comparisons")).order_by("pk").values_list("pk", "all")
    shuffle = random.Random(seed)
    ranked = sorted((every, shuffle.random(), pk) for pk, every in counted.iterator() if pk not in besides)
    chosen = [pk for *_, pk in ranked[:count]]
    found = Prompt.objects.in_bulk(chosen)
    return [found[pk] for pk in chosen]


# -- their answers -----------------------------------------------------------------------------------------


class _Pulse:
    """Called before each token: a heartbeat now and then, and a stop when somebody has cancelled or the worker ends."""

    def __init__(self, generation: Generation, check: Callable[[], None]) -> None:
        self.generation = generation
        self.check = check
        self.last = timezone.now()

    def __call__(self) -> None:
        self.check()
        now = timezone.now()
        if (now - self.last).total_seconds() >= settings.HEARTBEAT_SECONDS:
            self.last = now
            if jobs.heartbeat(job=self.generation):
                raise Interrupted


def sample_pairs(
    policy: Policy, prompts: Sequence[Prompt], *, project: Project, seed: int, round_: int = 0, pulse=lambda: None
) -> Pairs:
    """Two different answers to each prompt, by seeds that follow from the arguments. Up to MOST_TRIES tries."""
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
            for side in (0, 1)
        ]
        answers = sample(policy.model, policy.tokenizer, requests, batch_size=len(requests), before_each=pulse)
        both = list(zip(requests, answers, strict=True))
        faulty = {"empty": [], "identical": []}
        for place, prompt in enumerate(waiting):
            pair = both[2 * place : 2 * place + 2]
            if fault := _fault(pair, pairs, prompt):
                faulty[fault].append(prompt)
        pairs.empty, pairs.identical = faulty["empty"], faulty["identical"]
        waiting = [*pairs.empty, *pairs.identical]
    return pairs


def _fault(pair: list[tuple[Request, Sample]], pairs: Pairs, prompt: Prompt) -> str:
    """Put a pair where it belongs; "empty" or "identical" if it has to be sampled again."""
    (_, first), (_, second) = pair
    if first.error:
        pairs.refused.append((prompt, first.error))
        return ""
    if not first.text.strip() or not second.text.strip():
        return "empty"
    if first.text.strip() == second.text.strip():
        return "identical"
    pairs.good.append((prompt, pair))
    return ""


def seed_of(*parts: int) -> int:
    """63 bits that follow from `parts`: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


@transaction.atomic
def _store(generation: Generation, pairs: Pairs, policy: Policy) -> None:
    """The pairs of a batch, and the progress they make, together or not at all."""
    project, version = generation.project, generation.version
    jobs.heartbeat(  # first: after a lost claim nothing is written
        job=generation,
        progress=generation.progress + len(pairs.good),
        dropped_identical=F("dropped_identical") + len(pairs.identical),
        dropped_empty=F("dropped_empty") + len(pairs.empty),
        dropped_refused=F("dropped_refused") + len(pairs.refused),
        resampled=F("resampled") + pairs.resampled,
    )
    generation.refresh_from_db(fields=["dropped_identical", "dropped_empty", "dropped_refused", "resampled"])
    priority = _priority(project, version)
    # As it is now, and until this is stored: somebody may have changed it while the model wrote.
    required = Project.objects.select_for_update(no_key=True).values_list("judgements_required", flat=True).get(pk=project.pk)
    for prompt, pair in pairs.good:
        first, second = (
            Completion.objects.create(
                prompt=prompt,
                version=version,
                text=answer.text,
                temperature=request.temperature,
                top_p=request.top_p,
                max_new_tokens=request.max_new_tokens,
                seed=request.seed,
                dtype=policy.dtype,
                token_count=answer.token_count,
                finish_reason=answer.finish_reason,
                logprob=answer.logprob,
            )
            for request, answer in pair
        )
        Comparison.objects.create(
            project=project,
            prompt=prompt,
            first=first,
            second=second,
            purpose=Purpose.TRAIN,
            priority=priority,
            judgements_required=required,
            free_places=required,
        )


def _priority(project: Project, version: Version) -> float:
    """How many promotions there were when the version was promoted: pairs of the one promoted last come first."""
    promoted = project.promotions.filter(version=version).order_by("-pk").values("pk")[:1]
    return float(project.promotions.filter(pk__lte=promoted).count())
