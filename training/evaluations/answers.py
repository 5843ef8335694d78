"""The worker's part of an evaluation: both versions answer its prompts, and the pairs go into the queue, all at once.

Each answer is stored as soon as it is there, and what is stored is used: an evaluation that is taken up again goes on, and a
version that has answered a prompt with the same sampling settings before is not asked again.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from django.db import transaction

from annotate.models import Comparison, Completion, Prompt
from annotate.models.comparison import Purpose
from training.endpoints.evaluation import answers_from_endpoint
from training.generation.filling import required_now, seed_of, store_answer
from training.generation.named_makers import names_its_maker
from training.generation.sampling import Policy, Request, load_policy, sample
from training.models import Evaluation, EvaluationPair, Version
from training.rewards.best_of import Drawn, best_by_reward
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through

BATCH = 16  # answers at once
MOST_TRIES = 3  # to get an answer that is not empty
ROWS_AT_ONCE = 500  # SQLite takes a limited number of variables


def run_evaluation(evaluation_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the evaluation and write its answers. Does nothing if it is not queued.

    `check` is called before each token; when it raises Stopped, the evaluation goes back into the queue.
    """
    see_through(
        kind=Evaluation,
        pk=evaluation_id,
        work=lambda evaluation: write_answers(evaluation=evaluation, check=check),
        advice="Start it again.",
    )


def write_answers(*, evaluation: Evaluation, check: Callable[[], None] = lambda: None) -> None:
    """Raises Interrupted (cancelled), LostClaim, WorkFailed, and what `check` raises."""
    prompts = choose_prompts(evaluation)
    jobs.heartbeat(job=evaluation, total=2 * len(prompts))
    pulse = Pulse(evaluation, check)
    refusals: list[str] = []
    theirs = _answers(evaluation, evaluation.opponent, prompts, 1, refusals, pulse)
    ours = _answers(evaluation, evaluation.candidate, prompts, evaluation.best_of, refusals, pulse)
    both = [(prompt, ours[prompt.pk], theirs[prompt.pk]) for prompt in prompts if prompt.pk in ours and prompt.pk in theirs]
    answered = len(both)
    both = [
        pair for pair in both if not any(names_its_maker(y.text, prompt=pair[0], project=evaluation.project) for y in pair[1:])
    ]
    if not both:
        why_not = "In each pair an answer names its maker." if answered else "Every answer was empty."
        reason = f"The first: {refusals[0]}" if refusals else why_not
        jobs.fail(
            job=evaluation,
            error=f"Not one of the {len(prompts)} held-out prompts got two answers that can be judged blindly. {reason}",
        )
        return
    store_pairs(evaluation=evaluation, both=both, left_out=len(prompts) - len(both))


def choose_prompts(evaluation: Evaluation) -> list[Prompt]:
    """Held-out ones, in an order that the evaluation's id shuffles: the same each time it is asked for."""
    found = evaluation.project.prompts.heldout().order_by("pk").values_list("pk", flat=True)
    chosen = sorted(found, key=lambda pk: seed_of(evaluation.pk, pk))[: evaluation.prompts_wanted]
    by_pk = Prompt.objects.in_bulk(chosen)
    return [by_pk[pk] for pk in chosen]


@transaction.atomic
def store_pairs(*, evaluation: Evaluation, both: Sequence[tuple[Prompt, Completion, Completion]], left_out: int = 0) -> None:
    """(prompt, candidate's answer, opponent's) into the queue, and the job is done: together or not at all.

    The stored order is drawn for each, though annotators see an order of their own anyway.
    """
    jobs.finish(job=evaluation, progress=evaluation.total, left_out=left_out)  # first: after a lost claim nothing is written
    required = required_now(evaluation.project)
    toss = random.Random(evaluation.pk)
    for prompt, candidate, opponent in both:
        comparison = None
        if candidate.text.strip() != opponent.text.strip():
            first, second = (candidate, opponent) if toss.random() < 0.5 else (opponent, candidate)
            comparison = Comparison.objects.create(
                project_id=evaluation.project_id,
                prompt=prompt,
                first=first,
                second=second,
                purpose=Purpose.EVALUATE,
                judgements_required=required,
                free_places=required,
            )
        EvaluationPair.objects.create(
            evaluation=evaluation, prompt=prompt, candidate=candidate, opponent=opponent, comparison=comparison
        )


# -- one version's answers ---------------------------------------------------------------------------------


def _answers(
    evaluation: Evaluation, version: Version, prompts: Sequence[Prompt], best_of: int, refusals: list[str],
    pulse: Callable[[], None],
) -> dict[int, Completion]:  # fmt: skip
    """By the prompt's id. What a version has answered with these settings before is used again."""
    answers = _known_answers(evaluation, version, prompts, best_of)
    jobs.heartbeat(job=evaluation, progress=evaluation.progress + len(answers))
    waiting = [prompt for prompt in prompts if prompt.pk not in answers]
    if not waiting:
        return answers
    if version.is_endpoint:
        return answers | answers_from_endpoint(evaluation, version, waiting, refusals, pulse)
    policy = load_policy(version.path, serve_dtype=version.serve_dtype)
    size = max(1, BATCH // best_of)
    for start in range(0, len(waiting), size):
        batch = waiting[start : start + size]
        drawn = list(_draw(evaluation, version, policy, batch, best_of, refusals, pulse))  # before anything is locked
        with transaction.atomic():
            jobs.heartbeat(job=evaluation, progress=evaluation.progress + len(batch))
            for prompt, (request, answer) in drawn:
                answers[prompt.pk] = store_answer(prompt, version, request, answer, best_of=best_of, dtype=policy.dtype)
    return answers


def _known_answers(evaluation: Evaluation, version: Version, prompts: Sequence[Prompt], best_of: int) -> dict[int, Completion]:
    found: dict[int, Completion] = {}
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        answers = version.completions.filter(
            prompt__in=[prompt.pk for prompt in prompts[start : start + ROWS_AT_ONCE]],
            temperature=evaluation.temperature,
            top_p=evaluation.top_p,
            max_new_tokens=evaluation.max_new_tokens,
            best_of=best_of,
        )
        for answer in answers.order_by("pk"):
            if best_of == 1 or answer.seed in _seeds(evaluation, version, answer.prompt_id, best_of):  # not the worst of a pair
                found.setdefault(answer.prompt_id, answer)
    return found


def _seed(evaluation: Evaluation, version: Version, prompt_id: int, best_of: int, attempt: int, number: int) -> int:
    return seed_of(evaluation.pk, version.pk, best_of, prompt_id, attempt, number)


def _seeds(evaluation: Evaluation, version: Version, prompt_id: int, best_of: int) -> set[int]:
    tries = itertools.product(range(MOST_TRIES), range(best_of))
    return {_seed(evaluation, version, prompt_id, best_of, attempt, number) for attempt, number in tries}


def _draw(
    evaluation: Evaluation, version: Version, policy: Policy, prompts: Sequence[Prompt], best_of: int, refusals: list[str],
    pulse: Callable[[], None],
) -> Iterator[tuple[Prompt, Drawn]]:  # fmt: skip
    """The best of `best_of` answers to each prompt, none of them empty; prompts that get none are left out."""
    waiting = list(prompts)
    for attempt in range(MOST_TRIES):
        requests = [
            Request(
                messages=prompt.messages,
                seed=_seed(evaluation, version, prompt.pk, best_of, attempt, number),
                temperature=evaluation.temperature,
                top_p=evaluation.top_p,
                max_new_tokens=evaluation.max_new_tokens,
            )
            for prompt in waiting
            for number in range(best_of)
        ]
        answers = sample(policy.model, policy.tokenizer, requests, batch_size=BATCH, before_each=pulse)
        drawn = list(zip(requests, answers, strict=True))
        empty = []
        for place, prompt in enumerate(waiting):
            mine = drawn[place * best_of : (place + 1) * best_of]
            if error := mine[0][1].error:
                refusals.append(error)
            elif good := [each for each in mine if each[1].text.strip()]:
                yield prompt, good[0] if best_of == 1 else best_by_reward(version, policy, prompt, good)
            else:
                empty.append(prompt)
        waiting = empty
        if not waiting:
            return
