"""A model server that is not ours: `transformers serve` with the tiny model, asked as any endpoint is."""

from collections.abc import Iterator

import pytest

from annotate.consensus.triples import settle
from annotate.models import Assignment, Comparison, Completion, Judgement
from annotate.models.assignment import AssignmentState
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from bench.served.server import transformers_serve
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from training.ai.annotators import create_ai_annotator
from training.ai.protocol import Protocol, decide, read
from training.ai.sittings import run_sitting, start_sitting
from training.endpoints.chat import Answer, Client, Question
from training.endpoints.errors import EndpointError
from training.endpoints.probe import probe_endpoint
from training.endpoints.registering import serve_endpoint
from training.generation.pairs import run_generation
from training.models import Generation, Sitting
from training.models.job import JobState
from training.runs.ordering import start_run
from training.runs.supervision import run_training

pytestmark = pytest.mark.torch
SEA = [{"role": "user", "content": "Write a short answer about the sea."}]


@pytest.fixture(scope="module")
def served(tiny_model, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The server's address and what it calls its model: a directory."""
    with transformers_serve(tiny_model, tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def served_a(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A second server, whose model says A to everything."""
    from tests.trainer.tiny import make_model_that_says

    directory = make_model_that_says("A", tmp_path_factory.mktemp("model") / "a")
    with transformers_serve(directory, tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture
def endpoint(project, served):
    url, model = served
    project.max_new_tokens, project.queue_low, project.queue_high = 12, 3, 4
    project.save()
    return make_endpoint(project, url, model=model, timeout_seconds=30, features={"n": False, "logprobs": False})


def test_it_is_found_out_what_it_offers(endpoint) -> None:
    found = probe_endpoint(endpoint).features
    assert (found["n"], found["logprobs"], found["samples"], found["usage"]) == (False, False, True, True), found
    assert found["limit"] == "max_tokens"


def test_an_answer_has_its_text_its_end_and_its_counts(endpoint) -> None:
    with Client(endpoint) as client:
        reply = client.ask(Question(SEA, temperature=0.0, max_new_tokens=5))
        again = client.ask(Question(SEA, temperature=0.0, max_new_tokens=5))
    (answer,) = reply.answers
    assert answer.text and answer.text == again.answers[0].text
    assert (answer.finish_reason, answer.token_count, reply.completion_tokens) == ("length", 5, 5)
    assert reply.prompt_tokens > 5 and answer.logprob is None


def test_it_fills_the_queue(endpoint, project) -> None:
    for _ in range(5):
        builders.make_prompt(project)
    version = serve_endpoint(endpoint=endpoint)
    generation = Generation.objects.create(project=project, version=version)
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert (generation.state, generation.progress) == (JobState.DONE, 4), generation.error
    assert generation.requests >= 8 and generation.prompt_tokens and generation.completion_tokens
    for comparison in Comparison.objects.select_related("first", "second"):
        assert comparison.first.text.strip() != comparison.second.text.strip()
    assert all(0 < count <= 12 for count in Completion.objects.values_list("token_count", flat=True))


def test_a_model_it_does_not_have_is_told_in_words(endpoint) -> None:
    endpoint.model = "another"
    with pytest.raises(EndpointError, match="requested 'another'"), Client(endpoint) as client:
        client.ask(Question(SEA))


def test_what_it_writes_it_judges_in_both_orders(endpoint, served_a, project) -> None:
    """Generation and AI judging by real servers. One judge says A whatever it reads: no pair of it is more than a tie. The other
    babbles: what it says is taken as the protocol reads it, or asked for once more and then skipped."""
    for _ in range(4):
        builders.make_prompt(project)
    project.judgements_required = 2
    project.save()
    run_generation(Generation.objects.create(project=project, version=serve_endpoint(endpoint=endpoint)).pk)
    letter = judge_with(make_endpoint(project, served_a[0], model=served_a[1], timeout_seconds=30, features=endpoint.features))
    assert (letter.state, letter.progress, letter.divided, letter.skipped) == (JobState.DONE, 4, 4, 0), letter.error
    assert letter.requests == 8 and letter.completion_tokens == 16  # both orders, once each: the letter and the end of its turn
    for judgement in Judgement.objects.select_related("ai_verdict"):
        assert judgement.outcome == Outcome.TIE and judgement.ai_verdict.answers == ["A", "A"]
        assert (judgement.ai_verdict.shown_first, judgement.ai_verdict.shown_second) == ("first", "second")

    babble = judge_with(endpoint)
    assert babble.state == JobState.DONE and babble.progress + babble.skipped == 4, babble.error
    assert babble.requests >= 8 + babble.skipped  # each order, and again where it could not be read
    skipped = Assignment.objects.filter(annotator=babble.annotator.user, state=AssignmentState.SKIPPED)
    assert [row.skip_reason.startswith("Its answer could not be read, asked twice: “") for row in skipped] == [
        True
    ] * babble.skipped
    plain = Protocol(rubric="Shorter.")
    for judgement in Judgement.objects.filter(annotator=babble.annotator.user).select_related("ai_verdict"):
        once, back = (read(plain, Answer(text, "stop", 1)) for text in judgement.ai_verdict.answers)
        said = {"a": Outcome.FIRST, "b": Outcome.SECOND, "tie": Outcome.TIE}[decide(once, back).choice]
        assert judgement.outcome == said


def judge_with(endpoint) -> Sitting:
    judge = create_ai_annotator(
        project=endpoint.project, name=endpoint.name, rubric="Shorter.", endpoint=endpoint, uses_logprobs=False
    )
    sitting = start_sitting(judge)
    run_sitting(sitting.pk)
    sitting.refresh_from_db()
    return sitting


def test_the_loop_with_generation_and_ai_judging_over_the_network(endpoint, project, base) -> None:
    """The server writes, another model (a stub, so that the outcome is known) judges, the weights here are trained on it."""

    def shorter(body, index) -> str:
        a, b = (body["messages"][1]["content"].split(f"<answer_{side}>\n")[1].split(f"\n</answer_{side}>")[0] for side in "AB")
        return "A" if len(a) < len(b) else "B" if len(b) < len(a) else "T"

    project.queue_low, project.queue_high = 9, 10
    project.save()
    for split in [Split.TRAIN] * 8 + [Split.HELDOUT] * 2:
        builders.make_prompt(project, split=split)
    writer = serve_endpoint(endpoint=endpoint)
    run_generation(Generation.objects.create(project=project, version=writer).pk)
    with model_server(shorter) as stub:
        speaker = make_endpoint(project, stub, name="judge")
        judge = create_ai_annotator(project=project, name="Brief", rubric="Shorter.", endpoint=speaker, uses_logprobs=False)
        run_sitting(start_sitting(judge).pk)
    triples = settle(project=project).triples
    assert len(triples) >= 5 and all(len(triple.chosen) < len(triple.rejected) for triple in triples)
    quick = {"learning_rate": 1e-3, "batch_pairs": 4, "micro_batch_tokens": 2000, "device": "cpu", "threads": 1, "max_steps": 2}
    run = start_run(project=project, parent=base, overrides=quick)
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.DONE, run.error
    assert run.version.parent == base and run.dataset.judgements.filter(annotator=judge.user).count() == len(triples)
