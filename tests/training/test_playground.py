"""The playground: asked, answered by a worker as it goes, made a comparison; and nothing of it for annotators."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from annotate.models import Comparison, Completion, Prompt
from tests.builders import make_comparison, make_project, make_version
from training.clock.automation import tick
from training.models import Tryout

URL = "/projects/taste/playground/"
HTMX = {"HX-Request": "true"}
TOLD = {"tokens": 3, "finish_reason": "stop", "logprob": -1.5, "dtype": "float32", "seed": 7}


@pytest.fixture
def serving(project):
    return make_version(project, serving=True, name="tiny")


@pytest.fixture
def other(project, serving):
    return make_version(project, parent=serving, name="second")


@pytest.fixture
def as_manager(client, manager):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


def asked(serving, other=None, **fields) -> dict:
    told = {"text": "Why is the sky blue?", "first": serving.pk, "temperature": "0.7", "top_p": "0.9", "max_new_tokens": "12"}
    return told | ({"second": other.pk} if other else {}) | fields


def answered(project, serving, other, by, **fields) -> Tryout:
    told = {
        "first": serving, "second": other, "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 12, "seed": 7, "by": by,
        "messages": [{"role": "user", "content": "Why?"}], "state": "done", "first_text": "Because.", "second_text": "So.",
        "told": {"first": TOLD, "second": TOLD | {"seed": 8}},
    }  # fmt: skip
    return Tryout.objects.create(project=project, **told | fields)


def test_a_question_becomes_a_row_that_a_worker_answers(as_manager, project, serving, other):
    from django_tasks_db.models import DBTaskResult

    answer = as_manager.post(URL, asked(serving, other, system="Be brief.\r\nBe kind.", seed="5"))
    tryout = Tryout.objects.get()
    assert answer.url == f"{URL}{tryout.pk}/" and tryout.seed == 5 and tryout.second == other
    system = {"role": "system", "content": "Be brief.\nBe kind."}
    assert tryout.messages == [system, {"role": "user", "content": "Why is the sky blue?"}]
    task = DBTaskResult.objects.get()
    assert task.task_path == "training.tasks.answer_tryout" and task.priority == 25
    page = as_manager.get(answer.url).content.decode()
    assert "Waiting for a worker" in page and 'hx-trigger="every 600ms"' in page


def test_a_project_without_a_version_has_nobody_to_ask(as_manager, project):
    page = as_manager.get(URL).content.decode()
    assert "Nobody to ask yet" in page and "<textarea" not in page


def test_the_text_is_seen_as_it_grows_and_then_nothing_is_asked_any_more(as_manager, project, manager, serving, other):
    tryout = answered(project, serving, other, manager, state="running", first_text="Becau<b>", second_text="", told={})
    url = f"{URL}{tryout.pk}/"
    answer = as_manager.get(url, headers=HTMX)
    assert answer.status_code == 200 and "Becau&lt;b&gt;" in answer.content.decode() and "<html" not in answer.content.decode()
    Tryout.objects.update(state="done")
    answer = as_manager.get(url, headers=HTMX)
    assert answer.status_code == 286 and "Make this a comparison" in answer.content.decode()


@pytest.mark.parametrize("side", ["first", "second"])
def test_a_conversation_goes_on_from_either_answer(as_manager, project, manager, serving, other, side):
    before = answered(project, serving, other, manager)
    as_manager.post(URL, asked(serving, other, before=before.pk, follows=side))
    messages = Tryout.objects.order_by("-pk").first().messages
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == getattr(before, f"{side}_text")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": ""}, "This field is required."),
        ({"text": "x" * 60_000}, "at most 50000 characters"),
        ({"text": "a\0b"}, "Null characters are not allowed."),
        ({"temperature": "hot"}, "Enter a number."),
        ({"top_p": "0"}, "greater than or equal to 0.01"),
        ({"max_new_tokens": "99999"}, "less than or equal to 4096"),
        ({"seed": "-1"}, "greater than or equal to 0"),
        ({"first": "999999"}, "not one of the available choices"),
    ],
)
def test_what_cannot_be_asked_comes_back_with_the_text(as_manager, serving, fields, words):
    answer = as_manager.post(URL, asked(serving, system="Keep me.") | fields)
    assert answer.status_code == 422 and words in answer.content.decode() and "Keep me." in answer.content.decode()
    assert not Tryout.objects.exists()


def test_a_version_of_another_project_cannot_be_asked_nor_its_tryout_seen(as_manager, manager, serving):
    elsewhere = make_project()
    foreign = make_version(elsewhere)
    assert as_manager.post(URL, asked(foreign)).status_code == 422
    assert as_manager.get(f"{URL}{answered(elsewhere, foreign, None, manager).pk}/").status_code == 404


def test_it_becomes_a_comparison_once_ahead_of_the_others(as_manager, project, manager, serving, other):
    make_comparison(project, priority=3.0)
    tryout = answered(project, serving, other, manager)
    for _ in range(2):
        page = as_manager.post(f"{URL}{tryout.pk}/compare/", follow=True).content.decode()
    assert "It is a comparison in the queue." in page
    made = Comparison.objects.get(priority=4.0)
    assert {made.first.version, made.second.version} == {serving, other} and made.purpose == "train" and made.free_places == 1
    assert made.prompt.messages == tryout.messages and {c.text for c in (made.first, made.second)} == {"Because.", "So."}
    assert Comparison.objects.count() == 2 and Prompt.objects.filter(source="playground").count() == 1
    assert Completion.objects.get(text="So.").seed == 8


def test_its_sides_are_shuffled(project, manager, serving, other):
    from training.playground.asking import make_comparison as into_the_queue

    firsts = {into_the_queue(tryout=answered(project, serving, other, manager)).first.version_id for _ in range(24)}
    assert firsts == {serving.pk, other.pk}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"second_text": "Because. "}, "Both answers are the same"),
        ({"second_text": " "}, "empty"),
        ({"state": "running"}, "needs two whole answers"),
        ({"second": None}, "needs two whole answers"),
    ],
)
def test_what_is_no_pair_is_refused_in_words(as_manager, project, manager, serving, other, fields, words):
    tryout = answered(project, serving, other, manager, **fields)
    assert words in as_manager.post(f"{URL}{tryout.pk}/compare/", follow=True).content.decode()
    assert not Comparison.objects.exists()


def test_annotators_and_viewers_stay_out(client, annotator, viewer, serving):
    for user in (annotator, viewer):
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        assert client.get(URL).status_code == client.post(URL, asked(serving)).status_code == 403


def test_a_tryout_whose_worker_was_killed_says_so_and_can_be_asked_again(as_manager, project, manager, serving, other):
    """At once on the page, in the row as soon as the clock has looked; and it is never taken up again by itself."""
    from django_tasks_db.models import DBTaskResult

    silent = timezone.now() - timedelta(seconds=settings.STALE_SECONDS + 5)
    fields = {"state": "running", "heartbeat_at": silent, "first_text": "Beca", "second_text": "", "told": {}}
    tryout = answered(project, serving, other, manager, **fields)
    url = f"{URL}{tryout.pk}/"
    answer = as_manager.get(url, headers=HTMX)
    assert answer.status_code == 286 and "is gone" in answer.content.decode() and "Beca" in answer.content.decode()
    tick()
    tryout.refresh_from_db()
    assert tryout.state == "failed" and "Ask again" in tryout.error and tryout.first_text == "Beca"
    again = Tryout.objects.get(pk=as_manager.post(f"{url}again/").url.rstrip("/").rpartition("/")[2])
    assert again.pk != tryout.pk and again.state == "queued" and again.messages == tryout.messages
    assert (again.first, again.second, again.first_text) == (serving, other, "")
    assert DBTaskResult.objects.filter(task_path="training.tasks.answer_tryout", status="READY").count() == 1


def test_a_tryout_that_lives_is_left_alone(as_manager, project, manager, serving):
    now = timezone.now()
    tryout = answered(project, serving, None, manager, state="running", claimed_at=now, heartbeat_at=now)
    tick()
    tryout.refresh_from_db()
    assert tryout.state == "running" and as_manager.get(f"{URL}{tryout.pk}/", headers=HTMX).status_code == 200


def test_a_question_that_waits_is_told_what_the_worker_is_at(as_manager, project, manager, serving):
    tryout = answered(project, serving, None, manager, state="queued", first_text="", told={})
    url = f"{URL}{tryout.pk}/"
    assert "worker" not in as_manager.get(url, headers=HTMX).content.decode().partition("</h2>")[2]
    Tryout.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    assert "No worker has taken it up yet." in as_manager.get(url, headers=HTMX).content.decode()
    project.generations.create(version=serving, state="running", heartbeat_at=timezone.now(), progress=3, total=40)
    page = as_manager.get(url, headers=HTMX).content.decode()
    assert "A worker is at the generation of v0 (3 of 40 pairs) and takes it up next." in page


def test_a_question_whose_task_was_lost_gets_another(project, manager, serving):
    from django_tasks_db.models import DBTaskResult

    tryout = answered(project, serving, None, manager, state="queued")
    tick()
    task = DBTaskResult.objects.get(task_path="training.tasks.answer_tryout")
    assert task.args_kwargs["args"] == [tryout.pk]


@pytest.mark.torch
def test_a_worker_writes_both_answers_and_the_stream_ends_as_a_sample_does(project, base, manager):
    from training.generation.sampling import Request, load_policy, sample, stream
    from training.playground.answers import answer

    tryout = answered(project, base, base, manager, state="queued", first_text="", second_text="", told={})
    answer(tryout.pk)
    answer(tryout.pk)
    tryout.refresh_from_db()
    assert tryout.state == "done" and tryout.told["second"]["seed"] == 8 and tryout.first_text != tryout.second_text
    policy = load_policy(base.path)
    request = Request(tryout.messages, 7, 0.7, 1.0, 12)
    *growing, last = stream(policy.model, policy.tokenizer, request)
    [whole] = sample(policy.model, policy.tokenizer, [request])
    assert last == whole and tryout.first_text == whole.text and tryout.told["first"]["tokens"] == whole.token_count
    assert [each.token_count for each in growing] == list(range(1, last.token_count))


@pytest.mark.torch
def test_a_model_that_is_gone_is_said(project, manager, var_dir):
    from training.playground.answers import answer

    tryout = answered(project, make_version(project), None, manager, state="queued")
    answer(tryout.pk)
    tryout.refresh_from_db()
    assert tryout.state == "failed" and tryout.error
