"""What an endpoint is like, as its answers show it: there are no weights to look into."""

from collections.abc import Callable, Sequence

from annotate.models import Completion, Prompt
from annotate.models.completion import FinishReason
from training.endpoints.chat import Client, Question, Reply
from training.endpoints.pool import ask_all
from training.endpoints.probe import ensure_tested
from training.models import Version
from training.versions.answer_figures import figures_of_answers


def describe_endpoint(
    *, version: Version, shown: Sequence[Prompt], drawn: Sequence[Prompt], check: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Greedy answers to `shown`, stored as completions; and, from one draw for each of `drawn`, `mean_tokens` (as the
    server counts them) and `ended_share`. Raises EndpointError, and what `check` raises.
    """
    project = version.project
    answered = set(version.completions.filter(temperature=0, prompt__in=shown).values_list("prompt_id", flat=True))
    waiting = [prompt for prompt in shown if prompt.pk not in answered]
    greedy = [Question(prompt.messages, temperature=0.0, max_new_tokens=project.max_new_tokens) for prompt in waiting]
    draws = [
        Question(
            prompt.messages,
            seed=place,
            temperature=project.temperature,
            top_p=project.top_p,
            max_new_tokens=project.max_new_tokens,
        )
        for place, prompt in enumerate(drawn)
    ]
    answers = []
    with Client(ensure_tested(version.endpoint)) as client:
        for place, reply in ask_all(client, greedy, pulse=check):
            if isinstance(reply, Reply) and reply.answers and reply.answers[0].text.strip():
                _store(version, waiting[place], reply)
        for _, reply in ask_all(client, draws, pulse=check):
            answers += reply.answers[:1] if isinstance(reply, Reply) else ()
    if not answers:
        return {}
    return figures_of_answers(
        [answer.text for answer in answers],
        [answer.token_count for answer in answers],
        [answer.finish_reason == FinishReason.STOP for answer in answers],
    )


def _store(version: Version, prompt: Prompt, reply: Reply) -> None:
    answer = reply.answers[0]
    Completion.objects.create(
        prompt=prompt, version=version, text=answer.text, temperature=0.0, top_p=1.0, seed=0, dtype="endpoint",
        max_new_tokens=version.project.max_new_tokens, token_count=answer.token_count, finish_reason=answer.finish_reason,
    )  # fmt: skip
