"""The best of N against one, as a manager asks for it and reads it on the version's page."""

import pytest

from tests import builders
from tests.training.rows import make_evaluation, make_trained
from training.evaluations.best_of_curve import NUMBERS, curve_of, start_curve
from training.evaluations.ordering import EvaluationRefused, stop_evaluation
from training.models import Evaluation

URL = "/projects/taste/versions/1/"


@pytest.fixture
def trained(project):
    base = builders.make_version(project, serving=True)
    for _ in range(5):
        builders.make_prompt(project, split="heldout")
    return make_trained(project, base)


@pytest.fixture
def as_manager(client, manager):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


def test_one_press_asks_for_all_of_them(as_manager, trained):
    page = as_manager.get(URL).content.decode()
    assert "Ask for N = 2, 4, 8, 16" in page and "5 held-out prompts for each: up to 20 pairs" in page
    page = as_manager.post(f"{URL}best-of/", follow=True).content.decode()
    assert "4 evaluations wait for a worker" in page and "Ask for N" not in page
    found = Evaluation.objects.order_by("best_of")
    assert [each.best_of for each in found] == list(NUMBERS)
    assert {(each.candidate, each.opponent, each.prompts_wanted) for each in found} == {(trained, trained, 5)}
    assert "are being judged" in as_manager.post(f"{URL}best-of/", follow=True).content.decode() and found.count() == 4


def test_the_curve_is_the_newest_of_each_with_its_figures(as_manager, trained):
    figures = {"rate": 0.5, "always_low": 0.2, "always_high": 0.8, "prompts": 3}
    make_evaluation(trained, trained, best_of=4, verdict="undecided", figures=figures)
    make_evaluation(trained, trained, best_of=4, verdict="undecided", figures=figures | {"rate": 0.75, "prompts": 5})
    points = {point.number: point for point in curve_of(trained)}
    assert points[4].share.at == 75 and points[4].judged == 5 and points[8].evaluation is None
    page = as_manager.get(URL).content.decode()
    assert "<b>75 %</b>" in page and "5 prompts judged" in page and "Ask for N = 2, 8, 16" in page


def test_what_was_ended_is_asked_for_again(trained, manager):
    first = start_curve(version=trained, by=manager)
    stop_evaluation(evaluation=first[1])
    (again,) = start_curve(version=trained, by=manager)
    assert again.best_of == first[1].best_of and again.started_by == manager


def test_a_base_model_has_no_reward_to_choose_by(as_manager, trained):
    assert 'id="best-of"' not in as_manager.get("/projects/taste/versions/0/").content.decode()
    with pytest.raises(EvaluationRefused, match="no implicit reward"):
        start_curve(version=trained.parent)
    assert "no implicit reward" in as_manager.post("/projects/taste/versions/0/best-of/", follow=True).content.decode()


def test_without_held_out_prompts_nothing_is_offered(as_manager, trained):
    trained.project.prompts.all().delete()
    assert "Ask for N" not in as_manager.get(URL).content.decode()
    assert "No prompt is held out" in as_manager.post(f"{URL}best-of/", follow=True).content.decode()
    assert not Evaluation.objects.exists()


def test_viewers_see_the_curve_and_ask_for_nothing(client, viewer, trained):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    page = client.get(URL).content.decode()
    assert "Best of N" in page and "Ask for N" not in page
