"""The training half's API: the same functions as the pages, one shape of error."""

import pytest

from annotate.models.prompt import Split
from tests.builders import make_prompt, make_version
from tests.training.rows import add_events, make_judgement, make_run, make_trained
from training.models import Run
from training.versions.registry import serving_version

API = "/api/v1/projects/taste/"


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny")


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def judged(project, annotator, base, var_dir):
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), version=base)


def post(client, path: str, data: object) -> tuple[int, dict]:
    answer = client.post(API + path, data, content_type="application/json")
    return answer.status_code, answer.json()


def test_a_run_is_started_listed_and_cancelled(as_owner, judged):
    status, run = post(as_owner, "runs/", {"preset": "small", "overrides": {"beta": 0.3}, "parent": 0})
    assert status == 201 and run["number"] == 1 and run["state"] == "queued" and run["dataset"]["train_count"] == 1
    assert run["settings"] == {"preset": "small", "overrides": {"beta": 0.3}}
    assert as_owner.get(API + "runs/").json() == {"results": [as_owner.get(API + "runs/1/").json()], "next": None}
    status, run = post(as_owner, "runs/1/cancel/", {})
    assert status == 200 and run["state"] == "cancelled"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"preset": "huge"}, "preset"),
        ({"overrides": {"betta": 1}}, "overrides"),
        ({"overrides": {"beta": -1}}, "overrides"),
        ({"overrides": {"model": "/etc"}}, "overrides"),
        ({"overrides": "beta"}, "overrides"),
        ({"parent": 9}, "parent"),
        ({"parent": "v1"}, "parent"),
    ],
)
def test_bad_input_is_refused_with_its_field(as_owner, judged, data, field):
    status, error = post(as_owner, "runs/", data)
    assert status == 400 and error["code"] == "invalid" and field in error["fields"]
    assert not Run.objects.exists()


def test_nothing_to_train_on_is_a_conflict(as_owner, base):
    status, error = post(as_owner, "runs/", {})
    assert status == 409 and error["code"] == "conflict" and "Judge some" in error["message"]


@pytest.mark.parametrize(
    "body, status, code",
    [("{", 400, "parse_error"), ("[" * 100_000, 400, "parse_error"), ('"' + "x" * 6_000_000 + '"', 413, "too_large")],
)
def test_broken_json_has_the_one_shape_of_error(as_owner, base, body, status, code):
    answer = as_owner.post(API + "runs/", body, content_type="application/json")
    assert answer.status_code == status and set(answer.json()) == {"code", "message", "fields"}
    assert answer.json()["code"] == code


def test_what_is_not_there_has_the_one_shape_of_error(as_owner, base):
    answer = as_owner.get(API + "runs/7/")
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"


def test_events_come_after_a_line(as_owner, project, base):
    add_events(make_run(project, base), steps=5)
    answer = as_owner.get(API + "runs/1/events/", {"after": 5}).json()
    events = answer["events"]
    assert [event["line"] for event in events] == [6, 7] and answer["last"] == 7 and not answer["over"]
    assert set(events[0]) == {"line", "kind", "step", "data"}
    assert as_owner.get(API + "runs/1/events/", {"after": "x"}).status_code == 400


def test_versions_and_which_one_serves(as_owner, project, base):
    trained = make_trained(project, base, metrics={"heldout_accuracy": 0.7})
    newest, oldest = as_owner.get(API + "versions/").json()["results"]
    assert (newest["number"], newest["parent"], newest["run"], newest["serving"]) == (1, 0, 1, False)
    assert oldest["serving"] and oldest["parent"] is None
    status, version = post(as_owner, "versions/1/promote/", {"why": "better"})
    assert status == 200 and version["serving"] and serving_version(project) == trained
    assert post(as_owner, "versions/1/promote/", {"why": "x" * 301})[0] == 400
    assert post(as_owner, "versions/9/promote/", {})[0] == 404


def test_who_may(client, annotator, viewer, stranger, project, base):
    make_run(project, base)
    expected = {annotator: (403, 403), viewer: (200, 403), stranger: (404, 404)}
    for user, (look, act) in expected.items():
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        for path in ("runs/", "runs/1/", "runs/1/events/", "versions/"):
            assert client.get(API + path).status_code == look, (user, path)
        for path in ("runs/", "runs/1/cancel/", "versions/0/promote/"):
            assert post(client, path, {})[0] == act, (user, path)
