"""The pages of blind evaluations over HTTP: starting one, following it, what it shows to whom."""

import csv
import io

import pytest
from django.urls import reverse

from tests import builders
from tests.training.judges import judge_all
from tests.training.rows import add_evaluation_pair, make_evaluation, make_trained
from tests.training.test_evaluations import candidates, judge_some, others
from training.evaluations.ordering import decide_evaluations
from training.models import Evaluation, Version


@pytest.fixture
def serving(project) -> Version:
    return builders.make_version(project, serving=True)


@pytest.fixture
def newer(project, serving) -> Version:
    return make_trained(project, serving)


@pytest.fixture
def open_one(project, serving, newer) -> Evaluation:
    return make_evaluation(newer, serving, pairs=6)


@pytest.fixture
def as_(client):
    """as_(user): the client, signed in."""

    def sign_in(user):
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


def page_of(client, url: str, status: int = 200, **options) -> str:
    answer = client.get(url, **options)
    assert answer.status_code == status, answer.status_code
    return answer.content.decode()


EVALUATE = "/projects/taste/versions/1/evaluate/"

# -- starting ----------------------------------------------------------------------------------------------


def test_a_manager_starts_one_from_a_versions_page(as_, manager, project, serving, newer) -> None:
    builders.make_prompt(project, split="heldout")
    page = page_of(as_(manager), newer.get_absolute_url())
    assert f'action="{EVALUATE}"' in page and f'<option value="{serving.pk}" selected' in page
    answer = as_(manager).post(EVALUATE, {"opponent": serving.pk, "prompts": 20, "best_of": 1, "promotes": "on"})
    evaluation = Evaluation.objects.get()
    assert answer.url == evaluation.get_absolute_url() == "/projects/taste/evaluations/1/"
    assert (evaluation.candidate, evaluation.opponent, evaluation.started_by) == (newer, serving, manager)
    assert evaluation.promotes and evaluation.prompts_wanted == 1
    assert "It waits for a worker" in page_of(as_(manager), answer.url)
    assert "answer held-out prompts" in page_of(as_(manager), "/projects/taste/")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"prompts": "0"}, "greater than or equal to 1"), ({"prompts": "many"}, "whole number"),
        ({"best_of": "3"}, "valid choice"),
        ({"opponent": "x\0"}, "Null characters"), ({"opponent": ""}, "required"), ({"opponent": "own"}, "with itself"),
        ({}, "held out"),
    ],
)  # fmt: skip
def test_what_is_wrong_comes_back_with_what_was_typed(as_, manager, project, serving, newer, sent, words) -> None:
    if sent:
        builders.make_prompt(project, split="heldout")
    sent = {"opponent": serving.pk, "prompts": 77, "best_of": 1} | sent
    if sent["opponent"] == "own":
        sent["opponent"] = newer.pk
    answer = as_(manager).post(EVALUATE, sent)
    page = answer.content.decode()
    assert answer.status_code == 422 and "Nothing was started" in page and words in page
    assert 'role="alert" tabindex="-1" autofocus' in page  # it is far down the page
    assert f'value="{sent["prompts"]}"' in page and not Evaluation.objects.exists()


def test_anothers_version_is_no_opponent(as_, manager, serving, newer) -> None:
    elsewhere = builders.make_version(builders.make_project())
    assert as_(manager).post(EVALUATE, {"opponent": elsewhere.pk, "prompts": 5}).status_code == 422


def test_a_base_model_alone_has_nothing_to_be_measured_against(as_, manager, project, serving) -> None:
    page = page_of(as_(manager), serving.get_absolute_url())
    assert "Judged blind against others" in page and "/evaluate/" not in page


# -- following it ------------------------------------------------------------------------------------------


def test_the_page_follows_the_judgements_to_the_verdict(as_, manager, project, annotator, open_one) -> None:
    url = open_one.get_absolute_url()
    htmx = {"headers": {"HX-Request": "true"}}
    assert "6 pairs wait" in page_of(as_(manager), url) and "nothing is judged yet" in page_of(as_(manager), url, **htmx)
    judge_some(project, annotator, candidates, 5)
    page = page_of(as_(manager), url, **htmx)
    assert "1 pair waits" in page and "after 5 of 6 prompts: 100 %" in page and "win-band" in page and "At equal length" in page
    judge_some(project, annotator, candidates, 1)
    decide_evaluations()
    page = page_of(as_(manager), url, status=286, **htmx)
    assert "passes the bar" in page or "not plain who is better" in page
    assert "hx-get" not in page
    listed = page_of(as_(manager), "/projects/taste/evaluations/")
    assert "100 %" in listed and "6 of 6" in listed
    assert "100 %" in page_of(as_(manager), open_one.candidate.get_absolute_url())


def test_managers_see_each_judged_prompt_with_both_answers_and_viewers_do_not(
    as_, manager, viewer, project, annotator, open_one
) -> None:
    judge_some(project, annotator, candidates, 2)
    judge_some(project, annotator, others, 1)
    url = open_one.get_absolute_url()
    page = page_of(as_(manager), url)
    assert page.count('class="result"') == 3 and "It is the candidate&#x27;s." in page and "It is another." in page
    assert page_of(as_(manager), url + "?only=lost").count('class="result"') == 1
    assert page_of(as_(manager), url + "?only=tied").count('class="result"') == 0
    assert page_of(as_(manager), url + "?only=%00&page=x").count('class="result"') == 3
    page = page_of(as_(viewer), url)
    assert "Win rate of v1" in page and 'class="result"' not in page and "It is another." not in page


def test_the_table_holds_what_the_page_shows_and_no_formula(as_, manager, project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving)
    add_evaluation_pair(evaluation, "=candidate()", "Plain.")
    add_evaluation_pair(evaluation, "Same.", "Same.")
    judge_all(project, annotator, candidates)
    answer = as_(manager).get(evaluation.get_absolute_url() + "prompts.csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [(row["value"], row["judgements"]) for row in rows] == [("1", "1"), ("0.5", "0")]
    assert rows[0]["candidate_answer"] == "'=candidate()" and rows[0]["candidate"] == "v1"


def test_it_is_ended_by_hand_once(as_, manager, open_one) -> None:
    url = reverse("evaluation_stop", args=["taste", 1])
    assert "The rest is out of the queue".lower() in as_(manager).post(url, follow=True).content.decode().lower()
    assert "was over already" in as_(manager).post(url, follow=True).content.decode()
    open_one.refresh_from_db()
    assert open_one.verdict == "stopped" and "Ended by hand" in page_of(as_(manager), open_one.get_absolute_url())


def test_a_failed_one_says_why(as_, manager, serving, newer) -> None:
    evaluation = make_evaluation(newer, serving, state="failed", error="The model directory is gone. Put it back.")
    assert "Put it back." in page_of(as_(manager), evaluation.get_absolute_url())


def test_pages_cost_the_same_for_one_and_for_many(
    as_, manager, project, serving, newer, annotator, django_assert_max_num_queries
) -> None:
    for _ in range(12):
        evaluation = make_evaluation(newer, serving, pairs=2, verdict="stopped")
        evaluation.figures = {"rate": 0.6, "always_low": 0.5, "always_high": 0.7, "prompts": 2}
        evaluation.save()
    judge_all(project, annotator, candidates)
    client = as_(manager)
    with django_assert_max_num_queries(8):
        page_of(client, "/projects/taste/evaluations/")
    with django_assert_max_num_queries(12):
        page_of(client, evaluation.get_absolute_url())


# -- blindness ---------------------------------------------------------------------------------------------


def test_an_annotator_cannot_tell_an_evaluation_from_the_rest(client, annotator, project, serving, newer) -> None:
    """The same page, byte for byte but for the texts and the random names, whatever the pair is for."""
    from tests.collecting.test_blindness import everything

    pages = []
    for purpose in ("train", "evaluate"):
        project.comparisons.all().delete()
        evaluation = make_evaluation(newer, serving, verdict="stopped")
        pair = add_evaluation_pair(evaluation, "One answer.", "Another answer.")
        pair.comparison.purpose = purpose
        pair.comparison.save()
        pair.prompt.messages = [{"role": "user", "content": "What?"}]
        pair.prompt.save()
        client.force_login(annotator)
        client.get("/projects/taste/compare/")
        assignment = pair.comparison.assignments.get()
        assignment.swapped = False
        assignment.save()
        seen = everything(client.get("/projects/taste/compare/"))
        texts = {"One answer.", "Another answer."}
        assert all(text in seen for text in texts)
        first = "One answer." if seen.index("One answer.") < seen.index("Another answer.") else "Another answer."
        seen = seen.replace(first, "FIRST").replace((texts - {first}).pop(), "SECOND")
        pages.append("\n".join(line for line in seen.splitlines() if "GMT" not in line))
    assert pages[0] == pages[1]


def test_no_page_of_an_evaluation_opens_to_an_annotator(as_, annotator, open_one) -> None:
    for url in ("/projects/taste/evaluations/", "/projects/taste/evaluations/1/", "/projects/taste/evaluations/1/prompts.csv"):
        assert as_(annotator).get(url).status_code == 403
    assert "evaluation" not in page_of(as_(annotator), "/projects/taste/").lower()
