"""Answers that name who made them: kept out of the queue where a project wants it, by its own list, and counted."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from annotate.models import Comparison, Completion, Project
from annotate.models.prompt import Split
from tests import builders
from tests.builders import make_prompt, posted_settings
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from tests.training.test_generation import answers, generate, prompts  # noqa: F401  (fixtures and the job)
from training.endpoints.registering import serve_endpoint
from training.generation.named_makers import check_names, names_its_maker, read_names
from training.models.job import JobState

pytestmark = pytest.mark.torch  # the module of generations loads it


@pytest.fixture
def strict(project):
    project.leaves_out_makers = True
    project.save()
    return project


@pytest.mark.parametrize(
    ("text", "names_it"),
    [
        ("As ChatGPT, I cannot do that.", True),
        ("I am claude.", True),
        ("I'm SmolLM2, a small model", True),
        ("trained by Hugging\nFace", True),
        ("GPT-4o says so", True),
        ("My name is **Qwen**.", True),
        ("An openair concert in Claudette's garden", False),
        ("The llamas of Peru", False),
        ("I am an assistant.", False),
        ("", False),
    ],
)
def test_what_counts_as_a_name(strict, text, names_it):
    assert names_its_maker(text, prompt=make_prompt(strict, "Who are you?"), project=strict) is names_it


def test_a_name_that_the_prompt_gives_tells_nothing(strict):
    prompt = make_prompt(strict, "What did Claude Monet paint?")
    assert not names_its_maker("Claude Monet painted ponds.", prompt=prompt, project=strict)
    assert names_its_maker("I, ChatGPT, like Claude Monet.", prompt=prompt, project=strict)


def test_it_is_off_until_somebody_wants_it_and_an_empty_list_names_nobody(project):
    prompt = make_prompt(project)
    assert not project.leaves_out_makers and "ChatGPT" in project.maker_names
    assert not names_its_maker("As ChatGPT", prompt=prompt, project=project)
    project.leaves_out_makers, project.maker_names = True, []
    assert not names_its_maker("As ChatGPT", prompt=prompt, project=project)


def test_characters_of_a_pattern_are_characters(strict):
    strict.maker_names = ["C++ (bot)", ".*"]
    prompt = make_prompt(strict)
    assert names_its_maker("I am C++ (bot), hello", prompt=prompt, project=strict)
    assert not names_its_maker("Anything at all", prompt=prompt, project=strict)


def test_a_list_is_read_from_lines_and_checked():
    assert read_names("  Acme   AI \n\nacme ai\nOther\0") == ["Acme AI", "Other"]
    with pytest.raises(ValidationError) as refused:
        check_names(["x" * 61, "123", *(f"model{n}" for n in range(100))])
    assert len(refused.value.messages) == 3


def test_a_pair_that_names_its_maker_is_sampled_again_then_dropped_and_counted(base, prompts, answers, strict):  # noqa: F811
    calls = []

    def once_then_always(requests):
        calls.append(len(requests))
        return ["I am SmolLM.", "Plain."] * (len(requests) // 2)

    answers(once_then_always)
    generation = generate(base)
    assert generation.state == JobState.FAILED and "names its maker" in generation.error and not Comparison.objects.exists()
    assert generation.dropped_named == 8 and generation.resampled == 16 and generation.dropped_identical == 0


def test_a_second_try_may_do_without_the_name(base, prompts, answers, strict):  # noqa: F811
    calls = []

    def at_first(requests):
        calls.append(len(requests))
        first = "I am SmolLM." if len(calls) == 1 else "A"
        return [first, "B"] * (len(requests) // 2)

    answers(at_first)
    generation = generate(base)
    assert (generation.progress, generation.dropped_named) == (5, 0) and calls[:2] == [4, 4]
    assert not Completion.objects.filter(text__contains="SmolLM").exists()


def test_an_endpoints_answers_are_held_to_it_too_also_those_kept_from_before(strict):
    strict.queue_low, strict.queue_high, strict.temperature = 2, 2, 0.8
    strict.save()
    asked = [make_prompt(strict) for _ in range(2)]
    with model_server() as server:
        version = serve_endpoint(endpoint=make_endpoint(strict, server))
        builders.make_completion(asked[0], "As ChatGPT", version, temperature=0.8, top_p=1.0, max_new_tokens=128)
        server.say = lambda body, index: f"I am ChatGPT {index}"
        generation = generate(version)
        assert generation.dropped_named == 2 and not Comparison.objects.exists()
        server.say = lambda body, index: f"Number {index}"
        assert generate(version).progress == 2
    texts = Comparison.objects.values_list("first__text", "second__text")
    assert len(texts) == 2 and "ChatGPT" not in str(list(texts))


def test_a_manager_sets_it_and_reads_how_many_were_dropped(client, manager, strict, base, prompts, answers):  # noqa: F811
    client.force_login(manager)
    settings = reverse("project_settings", args=[strict.slug])
    assert client.post(settings, posted_settings(strict, maker_names="Acme AI\nWidget")).status_code == 302
    changed = Project.objects.get()
    assert changed.maker_names == ["Acme AI", "Widget"] and changed.leaves_out_makers
    refused = client.post(settings, posted_settings(changed, maker_names="x" * 99))
    assert refused.status_code == 422 and "x" * 99 in refused.content.decode()
    answers(lambda requests: ["Acme AI here", "Plain"] * (len(requests) // 2))
    base.project.refresh_from_db()
    generate(base)
    assert "8 one that names its maker" in client.get(reverse("project", args=[strict.slug])).content.decode()


def test_a_blind_evaluation_leaves_such_pairs_out_and_counts_them(strict, base):
    from training.evaluations.answers import run_evaluation
    from training.evaluations.ordering import start_evaluation

    for _ in range(4):
        make_prompt(strict, split=Split.HELDOUT)
    with model_server() as server:
        version = serve_endpoint(endpoint=make_endpoint(strict, server, concurrency=1))
        server.say = lambda body, index: "I am ChatGPT." if len(server.requests) % 4 == 1 else "I am an assistant."
        evaluation = start_evaluation(candidate=version, opponent=base, prompts=4)
        run_evaluation(evaluation.pk)
    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.left_out, evaluation.pairs.count()) == (JobState.DONE, 1, 3), evaluation.error
