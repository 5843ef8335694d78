"""An endpoint's part in a blind evaluation: one answer to each prompt, stored as it comes."""

from collections.abc import Callable, Sequence

from django.db import transaction

from annotate.models import Completion, Prompt
from training.endpoints.chat import Client, Question, Reply
from training.endpoints.errors import PromptRefused
from training.endpoints.generation import REMOTE
from training.endpoints.pool import ask_all
from training.endpoints.probe import ensure_tested
from training.generation.filling import MOST_TRIES, seed_of, store_answer
from training.models import Evaluation, Version
from training.worker import jobs


def answers_from_endpoint(
    evaluation: Evaluation, version: Version, prompts: Sequence[Prompt], refusals: list[str], pulse: Callable[[], None]
) -> dict[int, Completion]:
    """By the prompt's id; those that stay empty or are refused are left out. Raises EndpointError and what `pulse` raises."""
    found: dict[int, Completion] = {}
    waiting = list(prompts)
    endpoint = ensure_tested(version.endpoint)
    with Client(endpoint) as client:
        for attempt in range(MOST_TRIES):
            questions = [_question(evaluation, version, prompt, attempt) for prompt in waiting]
            empty = []
            for place, reply in ask_all(client, questions, pulse=pulse):
                prompt = waiting[place]
                if isinstance(reply, PromptRefused):
                    refusals.append(str(reply))
                elif reply.answers and reply.answers[0].text.strip():
                    found[prompt.pk] = _store(evaluation, version, prompt, questions[place], reply)
                else:
                    empty.append(prompt)
            waiting = empty
    return found


def _question(evaluation: Evaluation, version: Version, prompt: Prompt, attempt: int) -> Question:
    return Question(
        messages=prompt.messages,
        seed=seed_of(evaluation.pk, version.pk, prompt.pk, attempt) % 2**31,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        max_new_tokens=evaluation.max_new_tokens,
        logprobs=version.endpoint.offers("logprobs"),
    )


@transaction.atomic
def _store(evaluation: Evaluation, version: Version, prompt: Prompt, question: Question, reply: Reply) -> Completion:
    jobs.heartbeat(job=evaluation, progress=evaluation.progress + 1)
    return store_answer(prompt, version, question, reply.answers[0], dtype=REMOTE)
