"""The compare page and the addresses around it, with and without its script, and the API that does the same."""

import re
import uuid

import pytest
from django.urls import reverse

from annotate.models import Assignment, Judgement
from annotate.models.assignment import AssignmentState
from annotate.models.judgement import Outcome
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt, make_version

JSON = {"HTTP_ACCEPT": "application/json"}
ACTIONS = ["compare_next", "compare_judge", "compare_skip", "compare_undo", "compare_renew"]


@pytest.fixture
def at(project):
    return lambda name: reverse(name, args=[project.slug])


@pytest.fixture
def page(client, annotator, at):
    """The annotator's browser, on the compare page of a project with three comparisons."""

    class Page:
        def open(self):
            return client.get(at("compare"))

        def shown(self) -> str:
            return re.search(r'data-assignment="([0-9a-f-]*)"', self.open().content.decode())[1]

        def judge(self, script=True, **fields):
            fields = {"assignment": fields.get("assignment") or self.shown(), "key": uuid.uuid4(), "choice": "a"} | fields
            return client.post(at("compare_judge"), fields, **(JSON if script else {}))

    client.force_login(annotator)
    return Page()


@pytest.fixture
def comparisons(project):
    return [make_comparison(project) for _ in range(3)]


# -- who ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["compare", *ACTIONS])
def test_access(client, project, viewer, stranger, at, name):
    def ask() -> int:
        return client.get(at(name)).status_code if name == "compare" else client.post(at(name)).status_code

    assert ask() == 302  # to the sign-in page
    client.force_login(stranger)
    assert ask() == 404
    client.force_login(viewer)
    assert ask() == 403


@pytest.mark.parametrize("name", ACTIONS)
def test_wrong_method(client, annotator, at, name):
    client.force_login(annotator)
    assert client.get(at(name)).status_code == 405


# -- the pair ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("swapped", [False, True])
def test_a_is_the_left_answer_as_assigned(page, project, at, client, swapped):
    prompt = make_prompt(project)
    make_comparison(project, prompt, first=make_completion(prompt, "one"), second=make_completion(prompt, "two"))
    shown = page.shown()
    Assignment.objects.update(swapped=swapped)
    texts = re.findall(r"<pre class=\"raw\" data-raw hidden>(.*?)</pre>", page.open().content.decode())
    assert texts == (["two", "one"] if swapped else ["one", "two"])
    page.judge(assignment=shown, choice="a")
    assert Judgement.objects.get().outcome == (Outcome.SECOND if swapped else Outcome.FIRST)


def test_a_reload_shows_the_same_pair(page, comparisons):
    assert page.shown() == page.shown()
    assert Assignment.objects.count() == 1


def test_the_whole_conversation_is_shown(page, project):
    prompt = make_prompt(project)
    prompt.messages = [
        {"role": "system", "content": "Be *brief*."},
        {"role": "user", "content": "First question"},
        {"role": "assistant", "content": "First answer"},
        {"role": "user", "content": "Second question"},
    ]
    prompt.save()
    make_comparison(project, prompt)
    html = page.open().content.decode()
    assert "Be <em>brief</em>." in html and "First question" in html and "First answer" in html and "Second question" in html


def test_hostile_answers_are_harmless(page, project):
    prompt = make_prompt(project, text="<script>alert(1)</script>")
    evil = "</pre><script>alert(2)</script>![x](https://evil.example/x.png)"
    make_comparison(project, prompt, first=make_completion(prompt, evil), second=make_completion(prompt, "fine"))
    html = page.open().content.decode()
    assert "<script>alert" not in html and '<img src="https' not in html


def test_nothing_to_do_is_said_in_words(page, project, client, at):
    html = page.open().content.decode()
    assert "Nothing to compare just now" in html and "This project has no prompts yet." in html
    assert "Nothing to compare just now" in client.post(at("compare_next"), **JSON).content.decode()


def test_the_page_is_never_kept_in_a_cache(page, comparisons):
    assert "no-store" in page.open()["Cache-Control"]


def test_the_page_asks_the_database_as_often_for_one_comparison_as_for_many(
    client, annotator, project, at, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.force_login(annotator)
    counts = []
    for more in (1, 30):
        for _ in range(more):
            make_comparison(project)
        client.get(at("compare"))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(at("compare"))
        counts.append(len(queries))
    assert counts[0] == counts[1]


# -- the next one ------------------------------------------------------------------------------------------
def test_next_is_another_pair_and_a_fragment(page, comparisons, client, at):
    shown = page.shown()
    html = client.post(at("compare_next"), {"beside": shown}, **JSON).content.decode()
    assert "<html" not in html
    ahead = re.search(r'data-assignment="([0-9a-f-]+)"', html)[1]
    assert ahead != shown and page.shown() == shown


def test_next_beside_somebody_elses_assignment(page, comparisons, client, at, project):
    other = make_member(project, "annotator")
    theirs = Assignment.objects.create(comparison=comparisons[0], annotator=other, swapped=False, expires_at="2100-01-01T00:00Z")
    assert client.post(at("compare_next"), {"beside": theirs.pk}, **JSON).status_code == 200
    assert client.post(at("compare_next"), {"beside": "nonsense"}, **JSON).status_code == 422


# -- judging -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("choice", ["a", "b", "tie", "both_bad"])
def test_the_script_is_answered_in_json(page, comparisons, choice):
    answer = page.judge(choice=choice, seconds="3.5", rationale="clearer")
    assert answer.status_code == 200
    assert answer.json() == {"message": "Saved.", "already": False, "progress": {"mine_today": 1, "done": 1, "open": 2}}
    judgement = Judgement.objects.get()
    assert (judgement.seconds, judgement.rationale) == (3.5, "clearer")


def test_progress_does_not_run_backwards_while_pairs_are_written(page, comparisons, project):
    told = '<span data-progress="done">1</span> judged, <span data-progress="open">{}</span> waiting'
    page.judge()
    assert told.format(2) in page.open().content.decode()
    for _ in range(9):
        make_comparison(project)
    assert told.format(11) in page.open().content.decode()


def test_a_plain_form_is_led_to_the_next_pair(page, comparisons):
    before = page.shown()
    answer = page.judge(script=False)
    assert answer.status_code == 302
    assert Judgement.objects.count() == 1 and page.shown() != before


def test_another_answer_to_a_judged_pair_is_told_which_one_stands(page, comparisons, client):
    shown = page.shown()
    assert page.judge(assignment=shown, choice="a").json()["already"] is False
    again = page.judge(assignment=shown, choice="b")
    assert again.status_code == 200 and again.json()["already"] and "That answer stands" in again.json()["message"]
    assert page.judge(script=False, assignment=shown, choice="b").status_code == 302
    assert "That answer stands" in page.open().content.decode()
    assert Judgement.objects.count() == 1


def test_the_same_key_twice_is_one_judgement(page, comparisons):
    shown, key = page.shown(), uuid.uuid4()
    for _ in range(2):
        assert page.judge(assignment=shown, key=key).status_code == 200
    assert Judgement.objects.count() == 1


@pytest.mark.parametrize(
    "field, value",
    [
        *[("assignment", "7"), ("key", "x"), ("choice", "c"), ("choice", "")],
        *[("seconds", "-1"), ("seconds", "nan"), ("rationale", "x" * 10_001)],
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(page, comparisons, field, value):
    answer = page.judge(**{field: value})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid" and field in answer.json()["fields"]
    assert not Judgement.objects.exists()


def test_a_refused_plain_form_keeps_what_was_written(page, comparisons):
    answer = page.judge(script=False, choice="c", rationale="because <b>")
    html = answer.content.decode()
    assert answer.status_code == 422 and "because &lt;b&gt;</textarea>" in html and 'id="pair"' in html


def test_what_the_project_does_not_offer_is_refused(page, project, comparisons):
    project.allows_tie = False
    project.save()
    assert 'value="tie"' not in page.open().content.decode()
    answer = page.judge(choice="tie")
    assert answer.status_code == 422 and "choice" in answer.json()["fields"]


def test_somebody_elses_assignment_is_refused(page, comparisons, project):
    theirs = Assignment.objects.create(
        comparison=comparisons[0], annotator=make_member(project, "annotator"), swapped=False, expires_at="2100-01-01T00:00Z"
    )
    answer = page.judge(assignment=theirs.pk)
    assert answer.status_code == 409 and answer.json()["code"] == "not_yours"
    assert page.judge(script=False, assignment=theirs.pk).status_code == 409
    assert not Judgement.objects.exists()


@pytest.mark.parametrize("name", ACTIONS)
def test_a_page_made_for_another_person_is_refused(client, page, comparisons, owner, at, name):
    """On a shared computer: Olivia's page is still open when Anna signs in in another tab."""
    answer = client.post(at(name), {"assignment": page.shown(), "key": uuid.uuid4(), "choice": "a", "person": owner.pk}, **JSON)
    assert answer.status_code == 403 and answer.json()["code"] == "other_person"
    assert not Judgement.objects.exists()


# -- skip, undo, renew -------------------------------------------------------------------------------------
def test_skip(page, comparisons, client, at):
    shown = page.shown()
    assert client.post(at("compare_skip"), {"assignment": shown, "reason": "The two are the same"}, **JSON).status_code == 200
    skipped = Assignment.objects.get(pk=shown)
    assert (skipped.state, skipped.skip_reason) == (AssignmentState.SKIPPED, "The two are the same")
    assert page.shown() != shown


def test_undo_of_a_skip_does_not_say_that_it_took_back_an_earlier_answer(page, comparisons, client, at):
    shown = page.shown()
    client.post(at("compare_judge"), {"assignment": shown, "key": uuid.uuid4(), "choice": "a", "rationale": "Plain."}, **JSON)
    assert "data-before" in client.post(at("compare_undo"), {}, **JSON).json()["pair"]
    client.post(at("compare_skip"), {"assignment": shown}, **JSON)
    again = client.post(at("compare_undo"), {}, **JSON).json()["pair"]
    assert str(shown) in again and "Plain." in again and "data-before" not in again
    client.post(at("compare_skip"), {"assignment": shown}, **JSON)
    assert "Taken back. Judge this pair again." in client.post(at("compare_undo")).content.decode()


def test_what_is_judged_cannot_be_skipped(page, comparisons, client, at):
    shown = page.shown()
    page.judge(assignment=shown)
    assert client.post(at("compare_skip"), {"assignment": shown}, **JSON).status_code == 409


@pytest.mark.parametrize("script", [True, False])
def test_undo_brings_the_pair_back(page, comparisons, client, at, script):
    shown = page.shown()
    page.judge(assignment=shown)
    following = page.shown()
    answer = client.post(at("compare_undo"), **(JSON if script else {}))
    html = answer.json()["pair"] if script else answer.content.decode()
    assert answer.status_code == 200 and f'data-assignment="{shown}"' in html
    assert Judgement.objects.get().withdrawn_at
    assert page.shown() == shown != following


def test_undo_tells_how_far_the_work_is_now(page, comparisons, client, at):
    judged = page.judge().json()["progress"]
    undone = client.post(at("compare_undo"), **JSON).json()["progress"]
    assert judged == {"mine_today": 1, "done": 1, "open": 2} and undone == {"mine_today": 0, "done": 0, "open": 3}


def test_undo_brings_the_written_reason_back(page, comparisons, client, at):
    page.judge(assignment=page.shown(), rationale="It invents a date.")
    assert "It invents a date." in client.post(at("compare_undo"), **JSON).content.decode()


def test_undo_is_offered_where_there_is_something_to_take_back(page, project, client, at):
    assert "Undo" not in page.open().content.decode()
    make_comparison(project)
    client.post(at("compare_skip"), {"assignment": page.shown()}, **JSON)
    assert "Undo the last one" in page.open().content.decode()
    client.post(at("compare_undo"), **JSON)
    page.judge()
    assert "Undo the last one" in page.open().content.decode()


def test_without_a_model_it_is_said_who_can_add_one(page, project, client, owner, at):
    make_prompt(project)
    assert "Ask your manager" in page.open().content.decode() and "add_model" not in page.open().content.decode()
    client.force_login(owner)
    assert f"add_model smollm2 --project {project.slug} --serve" in page.open().content.decode()
    make_version(project, serving=True)
    assert "as soon as the model has written them" in page.open().content.decode()


def test_nothing_to_undo(page, comparisons, client, at):
    assert client.post(at("compare_undo"), **JSON).json()["code"] == "nothing_to_undo"
    assert client.post(at("compare_undo")).status_code == 409


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (AssignmentState.JUDGED, "has been judged, in another tab"),
        (AssignmentState.SKIPPED, "has been skipped, in another tab"),
        (AssignmentState.EXPIRED, "went back to the queue"),
    ],
)
def test_renew_says_whether_the_lease_is_held_and_else_why_not(page, comparisons, client, at, state, words):
    def renew(name: object) -> dict:
        return client.post(at("compare_renew"), {"assignment": name}, **JSON).json()

    shown = page.shown()
    assert renew(shown) == {"held": True}
    Assignment.objects.update(state=state)
    lost = renew(shown)
    assert lost["held"] is False and words in lost["message"]
    assert renew(uuid.uuid4())["held"] is False
    assert client.post(at("compare_renew"), {"assignment": "x"}, **JSON).status_code == 422


# -- the API -----------------------------------------------------------------------------------------------
def test_api_judges_like_the_page(client, annotator, project, comparisons, at):
    client.force_login(annotator)
    pair = client.post(at("api_next"), {}, content_type="application/json").json()
    offered = {"grades", "flags", "rationale", "allows_tie", "allows_both_bad", "allows_edit"}
    assert set(pair) == {"assignment", "messages", "a", "b"} | offered
    key = str(uuid.uuid4())
    answer = client.post(
        at("api_judgements"), {"assignment": pair["assignment"], "key": key, "choice": "b"}, content_type="application/json"
    )
    assert answer.status_code == 201 and answer.json() == {"key": key, "assignment": pair["assignment"], "late": False}
    judgement = Judgement.objects.get()
    better = judgement.comparison.first if judgement.outcome == Outcome.FIRST else judgement.comparison.second
    assert better.text == pair["b"]


def test_api_errors_have_one_shape(client, annotator, stranger, viewer, project, comparisons, at):
    asked = {"assignment": str(uuid.uuid4()), "key": str(uuid.uuid4()), "choice": "b"}

    def post(**fields):
        return client.post(at("api_judgements"), asked | fields, content_type="application/json")

    assert post().status_code == 401
    client.force_login(stranger)
    assert post().status_code == 404
    client.force_login(viewer)
    assert post().status_code == 403
    client.force_login(annotator)
    assert post().status_code == 409 and post().json()["code"] == "not_yours"
    wrong = post(choice="c")
    assert wrong.status_code == 400 and set(wrong.json()) == {"code", "message", "fields"} and "choice" in wrong.json()["fields"]


def test_api_says_why_there_is_nothing(client, annotator, project, at):
    client.force_login(annotator)
    nothing = client.post(at("api_next"), {}, content_type="application/json").json()
    assert nothing == {"assignment": None, "message": nothing["message"]} and nothing["message"]


def test_api_other_project(client, annotator, comparisons):
    elsewhere = make_project()
    client.force_login(annotator)
    assert client.post(reverse("api_next", args=[elsewhere.slug]), {}, content_type="application/json").status_code == 404
