"""Scores from 1 to 10, and the best against the worst of N."""

import math

import pytest
from django.core.management import CommandError, call_command

from annotate.models import Comparison, Completion
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from training.ai.annotators import change_ai_annotator, create_ai_annotator
from training.ai.direct_scores import NothingToPair, expected_score, pair_best_against_worst, read_score, score_completions
from training.endpoints.chat import Answer
from training.endpoints.registering import serve_endpoint
from training.models import AiScore


def said(text: str, *places: dict[str, float]) -> Answer:
    return Answer(text, "stop", 1, None, tuple({token: math.log(share) for token, share in place.items()} for place in places))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said("8", {"8": 0.5, "6": 0.5}), 7),
        (said("8", {"8": 0.4, " 8": 0.1, "10": 0.25, "The": 0.25}), (8 * 0.5 + 10 * 0.25) / 0.75),
        (said("10", {"1": 0.8, "2": 0.2}, {"0": 0.75, ".": 0.25}), 0.8 * (0.75 * 10 + 0.25 * 1) + 0.2 * 2),
        (said("2", {"1": 0.5, "2": 0.5}), 1.5),
        (said("It", {"It": 0.99, "8": 0.01}), None),
        (said("It", {"11": 0.5, "0": 0.5}), None),
        (said("8"), None),
    ],
)
def test_the_expected_score(answer, expected) -> None:
    assert expected_score(answer) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("7", 7),
        (" 10.", 10),
        ("8/10", 8),
        ("**9**", 9),
        ("The answer is 10.", 10),
        ("Score: 6", 6),
        ("**Rating:** 4 out of 10", 4),
    ],
)
def test_a_written_number_is_read(text, score) -> None:
    assert read_score(said(text)) == (score, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "11",
        "0",
        "7.5",
        "I would say 7",
        "seven",
        "7 or 8",
        "-3x",
        "The answer is right 8",
        "The answer is 1 of 3",
        "rating 12",
    ],
)
def test_what_is_no_number_is_not_guessed(text) -> None:
    assert read_score(said(text)) is None


def length_scores(body, index) -> str:
    """As a judge: shorter is better; as a writer: each seed another length."""
    content = body["messages"][-1]["content"]
    if "How good is it" in content:
        answer = content.split("<answer_A>\n")[1].split("\n</answer_A>")[0]
        return str(max(1, 10 - len(answer.split())))
    return " ".join(["word"] * (1 + body["seed"] % 8)) + f" {body['seed']}"


@pytest.fixture
def server():
    with model_server(length_scores) as running:
        yield running


@pytest.fixture
def endpoint(project, server):
    return make_endpoint(project, server)


@pytest.fixture
def judge(project, endpoint):
    return create_ai_annotator(project=project, name="Brief", rubric="Shorter.", endpoint=endpoint, uses_logprobs=False)


def test_a_score_is_asked_for_once_in_each_edition(judge, project, server) -> None:
    completions = [builders.make_completion(builders.make_prompt(project), text) for text in ("one", "one two three")]
    scores = score_completions(annotator=judge, completions=completions)
    assert [scores[each.pk].value for each in completions] == [9, 7] and len(server.requests) == 2
    score_completions(annotator=judge, completions=completions)
    assert len(server.requests) == 2
    judge = change_ai_annotator(annotator=judge, name="Brief", rubric="Longer.")
    score_completions(annotator=judge, completions=completions)
    assert len(server.requests) == 4 == AiScore.objects.count()


def test_the_score_is_the_mean_over_the_probabilities_of_the_numbers(judge, project, server) -> None:
    judge.uses_logprobs = True
    judge.save()
    likely = {"8": math.log(0.5), "6": math.log(0.25), " 4": math.log(0.05), "Good": math.log(0.2)}
    server.say = lambda body, index: {"text": "8", "logprobs": likely}
    completion = builders.make_completion(builders.make_prompt(project))
    score = score_completions(annotator=judge, completions=[completion])[completion.pk]
    assert score.is_expectation and score.value == pytest.approx((8 * 0.5 + 6 * 0.25 + 4 * 0.05) / 0.8)
    assert server.requests[0]["top_logprobs"] == 20


def test_what_cannot_be_read_is_asked_once_more_then_left_out(judge, project, server) -> None:
    server.say = lambda body, index: "A fine answer."
    completion = builders.make_completion(builders.make_prompt(project))
    assert score_completions(annotator=judge, completions=[completion]) == {} and len(server.requests) == 2
    assert "one whole number" in server.requests[-1]["messages"][-1]["content"]


def test_the_best_of_n_meets_the_worst(judge, project, server, endpoint) -> None:
    version = serve_endpoint(endpoint=endpoint)
    for _ in range(4):
        builders.make_prompt(project)
    made = pair_best_against_worst(project=project, annotator=judge, version=version, prompts=3, answers=4)
    assert 1 <= len(made) <= 3 and Comparison.objects.count() == len(made)
    for pair in made:
        scores = {each.pk: each.ai_scores.get().value for each in pair.prompt.completions.all()}
        assert sorted([scores[pair.first_id], scores[pair.second_id]]) == [min(scores.values()), max(scores.values())]
        assert pair.free_places == pair.judgements_required
    written = Completion.objects.count()
    assert written <= 12
    again = pair_best_against_worst(project=project, annotator=judge, version=version, prompts=9, answers=4)
    assert not {pair.prompt_id for pair in made} & {pair.prompt_id for pair in again}


def test_the_command_and_what_it_refuses(judge, project, endpoint, capsys) -> None:
    with pytest.raises(CommandError, match="No model serves"):
        call_command("best_of", 3, project="taste", by="Brief")
    version = serve_endpoint(endpoint=endpoint)
    with pytest.raises(CommandError, match="There are: Brief"):
        call_command("best_of", 3, project="taste", by="Nobody")
    with pytest.raises(CommandError, match="Every prompt has a pair"):
        call_command("best_of", 3, project="taste", by="Brief")
    with pytest.raises(NothingToPair):
        pair_best_against_worst(project=project, annotator=judge, version=version, prompts=1, answers=1)
    builders.make_prompt(project)
    call_command("best_of", 5, project="taste", by="Brief")
    assert "the best against the worst of 5" in capsys.readouterr().out
