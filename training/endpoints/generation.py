"""Fill the queue from an endpoint: two different answers to each prompt, stored as they come.

Each answer is a row as soon as it is there, whether its pair is complete or not, so a generation that is taken up again
(or the next one) asks only for what is missing: answers of a hosted model cost money.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from annotate.models import Comparison, Completion, Project, Prompt
from training.endpoints.chat import Answer, Client, Question, Reply
from training.endpoints.errors import EndpointError, PromptRefused
from training.endpoints.pool import ask_all
from training.endpoints.probe import ensure_tested
from training.generation.filling import (
    MOST_TRIES,
    add_pair,
    choose_prompts,
    goes_before_pairs,
    pairs_left,
    priority_of,
    required_now,
    seed_of,
    store_answer,
)  # fmt: skip
from training.generation.named_makers import names_its_maker
from training.generation.unanswered import unanswered_prompts
from training.models import Endpoint, Generation, Version
from training.worker import jobs
from training.worker.seeing_through import Pulse
from training.worker.stopping import Postponed

REMOTE = "endpoint"  # the precision of its answers: nobody here knows it
PROMPTS_AT_ONCE = 4  # times the endpoint's concurrency
REFUSED_IN_A_ROW = 16  # prompts: then it is of no use to ask all others, too


@dataclass
class _Making:
    """A prompt on its way to two different answers."""

    prompt: Prompt
    have: list[Completion] = field(default_factory=list)
    tries: int = 0
    asked: int = 0
    fault: str = ""  # of the latest answer that could not be used

    @property
    def missing(self) -> int:
        return max(0, 2 - len(self.have))


def fill_from_endpoint(generation: Generation, endpoint: Endpoint, pulse: Pulse) -> list[str]:
    """Returns why prompts were refused. Raises EndpointError when the server cannot be asked, what `pulse` raises, Postponed."""
    version = generation.version
    endpoint = ensure_tested(endpoint)
    refusals: list[str] = []
    tried: set[int] = set()
    with Client(endpoint) as client:
        while (left := pairs_left(generation)) > 0:
            count = min(left, PROMPTS_AT_ONCE * endpoint.concurrency)
            making = _begin(version, count=count, seed=generation.pk, besides=tried)
            if not making:
                break
            tried |= {each.prompt.pk for each in making}
            try:
                _make_pairs(generation, client, making, refusals, pulse)
            except EndpointError as error:
                cost = endpoint.cost_of(prompt_tokens=0, completion_tokens=error.completion_tokens)
                _count(generation, requests=error.requests, completion_tokens=error.completion_tokens, cost=cost)
                raise
            if len(tried) >= REFUSED_IN_A_ROW and generation.dropped_refused == len(tried):
                break  # it is not the prompts
            if goes_before_pairs(generation.project):
                raise Postponed
    return refusals


def _begin(version: Version, *, count: int, seed: int, besides: Iterable[int]) -> list[_Making]:
    """The next prompts, first those that have an answer already, with the answers they have."""
    spare = spare_answers(version, besides=besides)
    begun = list(dict.fromkeys(spare))[:count]
    others = choose_prompts(version=version, count=count - len(begun), seed=seed, besides={*besides, *begun})
    prompts = Prompt.objects.in_bulk(begun)
    return [_Making(prompts[pk], spare[pk]) for pk in begun] + [_Making(prompt) for prompt in others]


def spare_answers(version: Version, besides: Iterable[int] = ()) -> dict[int, list[Completion]]:
    """Answers in no pair, by prompt: two at most, different, and drawn as the project draws now."""
    project = version.project
    paired = Comparison.objects.filter(Q(first=OuterRef("pk")) | Q(second=OuterRef("pk")))
    rows = (
        version.completions.filter(
            ~Exists(paired), temperature=project.temperature, top_p=project.top_p, max_new_tokens=project.max_new_tokens,
            best_of=1,
            prompt__in=unanswered_prompts(version),
        )
        .exclude(temperature=0)
        .exclude(prompt__in=list(besides))
        .order_by("pk")
        .select_related("prompt")
    )  # fmt: skip
    spare: dict[int, list[Completion]] = {}
    for row in rows:
        own = spare.setdefault(row.prompt_id, [])
        if names_its_maker(row.text, prompt=row.prompt, project=project):
            continue
        if len(own) < 2 and all(row.text.strip() != other.text.strip() for other in own):
            own.append(row)
    return {pk: own for pk, own in spare.items() if own}


def _make_pairs(generation: Generation, client: Client, making: list[_Making], refusals: list[str], pulse: Pulse) -> None:
    for each in making:
        if not each.missing:  # both answers were there when the work was interrupted
            _keep(generation, each, answers=[])
    for attempt in range(MOST_TRIES):
        open_ = [each for each in making if each.missing and each.tries == attempt]
        asked = [(each, question) for each in open_ for question in _questions(generation, client.endpoint, each, attempt)]
        for each in open_:
            each.tries += 1
        for place, reply in ask_all(client, [question for _, question in asked], pulse=pulse):
            each, question = asked[place]
            if isinstance(reply, PromptRefused):
                refusals.append(str(reply))
                if each.fault != "refused":
                    each.tries, each.fault = MOST_TRIES, "refused"
                    _count(generation, requests=1, dropped_refused=1)
            else:
                _receive(generation, client.endpoint, each, question, reply)
        again = [each for each in open_ if each.missing and each.tries < MOST_TRIES]
        _count(generation, resampled=len(again))
    for each in making:
        if each.missing and each.fault in ("empty", "identical", "named"):
            _count(generation, **{f"dropped_{each.fault}": 1})


def _questions(generation: Generation, endpoint: Endpoint, each: _Making, attempt: int) -> list[Question]:
    """One request for all that is missing where the server takes `n`, else one for each."""
    project = generation.project
    together = endpoint.offers("n")
    numbers = [each.missing] if together else [1] * each.missing
    return [
        Question(
            messages=each.prompt.messages,
            n=number,
            seed=seed_of(generation.pk, each.prompt.pk, attempt, side) % 2**31,  # llama.cpp takes no more
            temperature=project.temperature,
            top_p=project.top_p,
            max_new_tokens=project.max_new_tokens,
            logprobs=endpoint.offers("logprobs"),
        )
        for side, number in enumerate(numbers)
    ]


def _receive(generation: Generation, endpoint: Endpoint, each: _Making, question: Question, reply: Reply) -> None:
    cost = endpoint.cost_of(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
    _keep(
        generation, each, answers=[(question, answer) for answer in reply.answers], cost=cost, requests=reply.requests,
        prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
    )  # fmt: skip


@transaction.atomic
def _keep(generation: Generation, each: _Making, *, answers: list[tuple[Question, Answer]], **spent: object) -> None:
    """The answers of one reply, what they have cost and, when it is complete, their pair: together or not at all."""
    _count(generation, **spent)  # first: after a lost claim nothing is written
    for question, answer in answers:
        text = answer.text.strip()
        if not text:
            each.fault = "empty"
        elif any(text == other.text.strip() for other in each.have):
            each.fault = "identical"
        elif names_its_maker(text, prompt=each.prompt, project=generation.project):
            each.fault = "named"
        else:
            each.have.append(store_answer(each.prompt, generation.version, question, answer, dtype=REMOTE))
    if len(each.have) >= 2:
        project: Project = generation.project
        priority = priority_of(project, generation.version)
        first, second = each.have
        required = required_now(project)
        add_pair(project=project, prompt=each.prompt, first=first, second=second, priority=priority, required=required)
        jobs.heartbeat(job=generation, progress=generation.progress + 1)


def _count(generation: Generation, **more: object) -> None:
    """Add to the generation's counters."""
    if not more or not any(more.values()):
        return
    jobs.heartbeat(job=generation, **{name: F(name) + value for name, value in more.items()})
    generation.refresh_from_db(fields=list(more))
