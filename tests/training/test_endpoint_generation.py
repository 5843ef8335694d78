"""Filling the queue from a model server: what is asked, stored and counted, and what an interruption leaves."""

from decimal import Decimal

import pytest

from annotate.models import Comparison, Completion
from annotate.models.prompt import Split
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import half, model_server, status
from training.clock.automation import generation_is_due
from training.endpoints.registering import serve_endpoint
from training.generation.pairs import run_generation
from training.models import Generation
from training.models.job import JobState
from training.worker import jobs

pytestmark = pytest.mark.torch  # the module of generations loads it


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def prompts(project):
    project.queue_low, project.queue_high, project.temperature = 3, 4, 0.8
    project.save()
    return [builders.make_prompt(project, split=split) for split in [Split.TRAIN, Split.HELDOUT] * 3]


@pytest.fixture
def version(project, server):
    return serve_endpoint(endpoint=make_endpoint(project, server, price_in=Decimal(3), price_out=Decimal(10)))


def generate(version) -> Generation:
    generation = Generation.objects.create(project=version.project, version=version)
    return work_on(generation)


def work_on(generation: Generation) -> Generation:
    run_generation(generation.pk)
    generation.refresh_from_db()
    return generation


def test_the_queue_is_filled_and_tokens_and_cost_are_counted(version, prompts, server) -> None:
    generation = generate(version)
    assert (generation.state, generation.progress, generation.total) == (JobState.DONE, 4, 4), generation.error
    for comparison in Comparison.objects.select_related("first", "second"):
        assert comparison.first.version == comparison.second.version == version
        assert comparison.first.text != comparison.second.text and comparison.free_places == 1
        assert (comparison.first.temperature, comparison.first.token_count) == (0.8, 5)
        assert comparison.first.logprob == pytest.approx(-2.5) and comparison.first.finish_reason == "stop"
    assert (generation.requests, generation.prompt_tokens, generation.completion_tokens) == (4, 40, 40)
    assert generation.cost == Decimal("0.00052")  # 40 tokens at $3 and 40 at $10 a million
    assert {request["n"] for request in server.requests} == {2} and len({request["seed"] for request in server.requests}) == 4
    assert all(request["temperature"] == 0.8 and request["max_tokens"] == 128 for request in server.requests)


def test_a_server_without_n_and_log_probabilities_is_asked_once_for_each_answer(project, prompts, server) -> None:
    server.offers_n = False
    endpoint = make_endpoint(project, server, features={"n": False, "logprobs": False})
    generation = generate(serve_endpoint(endpoint=endpoint))
    assert generation.progress == 4 and len(server.requests) == 8 == len({request["seed"] for request in server.requests})
    assert not any("n" in request or "logprobs" in request for request in server.requests)
    assert set(Completion.objects.values_list("logprob", flat=True)) == {None}


def test_an_untested_endpoint_is_tested_first(project, prompts, server) -> None:
    endpoint = make_endpoint(project, server)
    endpoint.features = {}
    endpoint.save()
    assert generate(serve_endpoint(endpoint=endpoint)).progress == 4
    endpoint.refresh_from_db()
    assert endpoint.offers("n") and endpoint.offers("logprobs") and endpoint.offers("samples")


def test_equal_answers_are_asked_for_again_then_dropped_and_counted(version, prompts, server) -> None:
    server.say = lambda body, index: "Always the same."
    generation = generate(version)
    assert generation.state == JobState.FAILED and "temperature" in generation.error
    assert generation.dropped_identical == 6 and not Comparison.objects.exists()
    assert Completion.objects.count() == 6  # one of each prompt is kept
    server.say = lambda body, index: "Another at last."
    before = len(server.requests)
    again = generate(version)
    assert again.progress == 4 and len(server.requests) - before == 4  # only the missing ones are asked for
    assert all("n" not in request for request in server.requests[before:])


def test_empty_answers_are_dropped_and_counted(version, prompts, server) -> None:
    server.say = lambda body, index: "  "
    generation = generate(version)
    assert generation.state == JobState.FAILED and generation.dropped_empty == 6 and not Completion.objects.exists()
    assert generation.requests == 18


def test_a_refused_prompt_is_counted_and_stops_nothing(version, prompts, server) -> None:
    long = prompts[0].last_message

    def refuse_it(handler) -> None:
        refused = handler.body["messages"][-1]["content"] == long
        handler.send(400, {"error": {"message": "too long"}}) if refused else handler.answer()

    server.always = refuse_it
    type(version.project).objects.update(queue_high=6)
    generation = generate(version)
    assert (generation.state, generation.progress, generation.dropped_refused) == (JobState.DONE, 5, 1)


def test_a_server_that_refuses_every_prompt_is_not_asked_for_all_of_them(version, prompts, server) -> None:
    for _ in range(40):
        builders.make_prompt(version.project)
    type(version.project).objects.update(queue_low=40, queue_high=40)
    server.always = status(400, {"error": {"message": "no such adapter"}})
    generation = generate(version)
    assert generation.state == JobState.FAILED and "no such adapter" in generation.error
    assert generation.dropped_refused == len(server.requests) == 16


def test_a_wrong_key_fails_with_what_to_do_and_keeps_what_came(version, prompts, server) -> None:
    version.endpoint.concurrency = 1
    version.endpoint.save()
    server.faults = [lambda handler: handler.answer(), status(401)]
    generation = generate(version)
    assert generation.state == JobState.FAILED and "refuses the key (401)" in generation.error
    assert generation.progress == 1 == Comparison.objects.count()


def test_a_generation_that_is_taken_up_again_asks_for_nothing_it_has(project, prompts, server, monkeypatch) -> None:
    """kill -9 after five answers, one of them without its partner."""
    server.offers_n = False
    endpoint = make_endpoint(project, server, features={"n": False}, concurrency=1)
    version = serve_endpoint(endpoint=endpoint)
    generation = Generation.objects.create(project=project, version=version)
    create, count = Completion.objects.create, iter(range(1, 100))

    def dies(**fields):
        if next(count) > 5:
            raise SystemExit
        return create(**fields)

    with monkeypatch.context() as patch:
        patch.setattr(Completion.objects, "create", dies)
        patch.setattr(jobs, "release", lambda **_: None)
        with pytest.raises(SystemExit):
            run_generation(generation.pk)
    assert (Completion.objects.count(), Comparison.objects.count()) == (5, 2)
    Generation.objects.update(heartbeat_at="2020-01-01T00:00Z")
    assert jobs.requeue_stale() == [generation]
    before = len(server.requests)
    work_on(generation)
    assert (generation.state, generation.progress, Comparison.objects.count()) == (JobState.DONE, 4, 4)
    assert Completion.objects.count() == 8 and len(server.requests) - before == 3


def test_a_server_that_ignores_n_and_gives_no_log_probabilities_though_it_promised(version, prompts, server) -> None:
    server.offers_n = server.offers_logprobs = False
    generation = generate(version)
    assert (generation.state, generation.progress) == (JobState.DONE, 4), generation.error
    assert generation.requests == 8 and generation.completion_tokens == 40
    assert not Completion.objects.exclude(logprob=None).exists() and Completion.objects.count() == 8


def test_what_never_comes_whole_is_paid_for_and_leaves_nothing_behind(version, prompts, server) -> None:
    server.always = half(3)
    generation = generate(version)
    assert generation.state == JobState.FAILED and "half-way" in generation.error
    assert not Completion.objects.exists() and not Comparison.objects.exists()
    assert generation.requests == len(server.requests) == 12 and generation.completion_tokens == 36
    assert generation.cost == Decimal("0.00036")  # nobody has told how much was read


def test_half_streamed_answers_leave_nothing_half(version, prompts, server) -> None:
    server.faults = [half(3), half(1)]
    generation = generate(version)
    assert generation.progress == 4 and all(
        text.endswith("to this.") for text in Completion.objects.values_list("text", flat=True)
    )
    assert generation.requests == 6 and generation.prompt_tokens == 60  # two prompts were read twice
    assert generation.completion_tokens == 40 + 3 + 1


def test_a_server_that_is_not_there_is_tried_again_later_and_at_once_when_it_was_changed(project, prompts, monkeypatch) -> None:
    import openai._base_client as base

    monkeypatch.setattr(base, "MAX_RETRY_DELAY", 0.01)
    endpoint = make_endpoint(project, "http://127.0.0.1:9/v1")
    generation = generate(serve_endpoint(endpoint=endpoint))
    assert generation.state == JobState.FAILED and "cannot be reached" in generation.error
    assert not generation_is_due(project)
    type(endpoint).objects.update(changed_at=generation.created_at.replace(year=2099))
    assert not generation_is_due(project)  # not settled yet


def test_cancelling_stops_it(version, prompts, server, settings, monkeypatch) -> None:
    settings.HEARTBEAT_SECONDS = 0
    claim = jobs.claim

    def claim_and_cancel(**options):
        job = claim(**options)
        jobs.request_cancel(job=Generation.objects.get(pk=job.pk))
        return job

    monkeypatch.setattr(jobs, "claim", claim_and_cancel)
    assert generate(version).state == JobState.CANCELLED and not Comparison.objects.exists()


def test_an_endpoint_takes_part_in_a_blind_evaluation(project, server, base) -> None:
    from training.evaluations.answers import run_evaluation
    from training.evaluations.ordering import start_evaluation

    for _ in range(4):
        builders.make_prompt(project, split=Split.HELDOUT)
    endpoint = make_endpoint(project, server)
    version = serve_endpoint(endpoint=endpoint)
    evaluation = start_evaluation(candidate=version, opponent=base, prompts=4)
    server.faults = [lambda handler: handler.send(400, {"error": {"message": "no"}})]
    run_evaluation(evaluation.pk)
    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.left_out) == (JobState.DONE, 1), evaluation.error
    assert evaluation.pairs.filter(candidate__version=version, opponent__version=base).count() == 3
