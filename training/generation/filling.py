"""What every source of answers shares when it fills the queue: how many pairs, of which prompts, and how one is stored."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from django.db.models import Count
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from annotate.models import Comparison, Completion, Project, Prompt
from annotate.models.comparison import Purpose
from training import tasks
from training.generation.unanswered import unanswered_prompts
from training.models import Generation, Run, Version
from training.models.job import JobState
from training.versions.registry import serving_version

if TYPE_CHECKING:  # it loads torch, and the clock imports this module
    from training.endpoints.chat import Answer, Question
    from training.generation.sampling import Request, Sample

MOST_TRIES = 3  # to get two different answers to one prompt


def pairs_waiting(project: Project) -> int:
    return Comparison.objects.claimable().for_training().filter(project=project).count()


def queue_is_low(project: Project) -> bool:
    return pairs_waiting(project) < project.queue_low


def pairs_wanted(project: Project) -> int:
    """How many comparisons the queue lacks: 0 until it is below its low mark, then up to its high mark."""
    waiting = pairs_waiting(project)
    return project.queue_high - waiting if waiting < project.queue_low else 0


def something_goes_first() -> bool:
    """A run, or the description of what one has made."""
    urgent = DBTaskResult.objects.filter(
        task_path=tasks.describe_version.module_path, priority=tasks.AFTER_A_RUN, status=TaskResultStatus.READY
    )
    return _a_run_waits() or urgent.exists()


def goes_before_pairs(project: Project) -> bool:
    """A run; the description of what one has made only once annotators have enough pairs again."""
    return _a_run_waits() or (not queue_is_low(project) and something_goes_first())


def _a_run_waits() -> bool:
    return Run.objects.filter(state=JobState.QUEUED).exists()


def pairs_left(generation: Generation) -> int:
    """Pairs still to make. None once another version serves: its own generation will be started."""
    serving = serving_version(generation.project)
    if serving is None or serving.pk != generation.version_id:
        return 0
    return min(generation.total - generation.progress, generation.project.queue_high - pairs_waiting(generation.project))


def why_nothing(project: Project, generation: Generation, refusals: Sequence[str]) -> str:
    if refusals:
        return f"None of the prompts tried could be used. The first: {refusals[0]}"
    if generation.dropped_identical or generation.dropped_empty or generation.dropped_named:
        named = f", {generation.dropped_named} one that names its maker" if generation.dropped_named else ""
        return (
            f"No pair was kept: {generation.dropped_identical} prompts got twice the same answer and "
            f"{generation.dropped_empty} an empty one{named}, {MOST_TRIES} times each. "
            f"Raise the temperature in the project's settings (it is {project.temperature:g})"
            f"{', or shorten the list of makers there' if named else ''}."
        )
    return ""


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


def seed_of(*parts: int) -> int:
    """63 bits that follow from `parts`: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def required_now(project: Project) -> int:
    """How many judgements a new pair needs, until the transaction ends: somebody may have changed it while the model wrote."""
    return Project.objects.select_for_update(no_key=True).values_list("judgements_required", flat=True).get(pk=project.pk)


def store_answer(
    prompt: Prompt, version: Version, request: "Request | Question", answer: "Sample | Answer", *, dtype: str, best_of: int = 1
) -> Completion:
    """What a version wrote, here or on its server, with all that is needed to ask for it again. `best_of`: of how many."""
    return Completion.objects.create(
        prompt=prompt,
        version=version,
        text=answer.text,
        temperature=request.temperature,
        top_p=request.top_p,
        max_new_tokens=request.max_new_tokens,
        seed=request.seed,
        best_of=best_of,
        dtype=dtype,
        token_count=answer.token_count,
        finish_reason=answer.finish_reason,
        logprob=answer.logprob,
    )


def add_pair(
    *, project: Project, prompt: Prompt, first: Completion, second: Completion, priority: float, required: int
) -> Comparison:
    return Comparison.objects.create(
        project=project,
        prompt=prompt,
        first=first,
        second=second,
        purpose=Purpose.TRAIN,
        priority=priority,
        round=Comparison.objects.rounds_of([prompt])[prompt.pk],
        judgements_required=required,
        free_places=required,
    )


def priority_of(project: Project, version: Version) -> float:
    """How many promotions there were when the version was promoted: pairs of the one promoted last come first."""
    promoted = project.promotions.filter(version=version).order_by("-pk").values("pk")[:1]
    return float(project.promotions.filter(pk__lte=promoted).count())
