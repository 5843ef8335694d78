"""Endpoints and AI annotators by program: the same functions and refusals as their pages; a key never comes out."""

import re

import pytest

from annotate.models.project import AiJudgements
from annotate.queue.places import recount_places
from tests.builders import make_comparison, make_completion, make_member, make_prompt, make_version
from tests.collecting.judged import judge
from tests.training.api_roles import API_TABLE
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server, web_page
from tests.training.test_urls_by_role import address_of
from tests.training.test_urls_by_role import place as place
from training.ai.annotators import create_ai_annotator
from training.ai.sittings import run_sitting, start_sitting
from training.endpoints.keys import read_key
from training.models import AiAnnotator, Endpoint
from training.versions.registry import serving_version

API = "/api/v1/projects/taste/"
OPEN_TO_ANNOTATORS = [name for name, expected in API_TABLE.items() if expected.annotator == "ok" and name != "api_reference"]
SERVER = {"name": "local", "base_url": "http://127.0.0.1:9/v1", "model": "tiny"}


@pytest.fixture
def as_manager(client, project):
    manager = make_member(project, "manager", "marek")
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def server():
    with model_server("A") as running:
        yield running


def send(client, method: str, path: str, data: object = None) -> tuple[int, dict]:
    answer = getattr(client, method)(API + path, data, content_type="application/json")
    return answer.status_code, answer.json() if answer.content else {}


# -- endpoints -----------------------------------------------------------------------------------------------


def test_an_endpoint_is_added_tested_and_serves(as_manager, project, server):
    status, endpoint = send(as_manager, "post", "endpoints/", SERVER | {"base_url": server.url, "key": "sk-secret-7"})
    assert status == 201 and endpoint["has_key"] and endpoint["tested"] == {} and endpoint["version"] is None
    assert read_key(Endpoint.objects.get()) == "sk-secret-7"
    here = f"endpoints/{endpoint['id']}/"
    status, tested = send(as_manager, "post", here + "test/")
    assert status == 200 and tested["tested"]["n"] is True and "error" not in tested["tested"]
    status, version = send(as_manager, "post", here + "serve/")
    assert status == 200 and version["serving"] and serving_version(project).endpoint_id == endpoint["id"]
    status, shown = send(as_manager, "get", here)
    assert shown["version"] == version["number"] and shown["spent"]["requests"] == 0
    for path in ("endpoints/", here):
        assert "sk-secret" not in as_manager.get(API + path).content.decode()
    status, error = send(as_manager, "delete", here)
    assert status == 409 and "so it stays" in error["message"]


def test_a_test_that_fails_says_what_to_do(as_manager, project, server):
    server.always = web_page
    endpoint = make_endpoint(project, server)
    status, tested = send(as_manager, "post", f"endpoints/{endpoint.pk}/test/")
    assert status == 200 and "web page" in tested["tested"]["error"] and "/v1" in tested["tested"]["error"]


def test_a_key_does_not_follow_to_another_server(as_manager):
    _, endpoint = send(as_manager, "post", "endpoints/", SERVER | {"key": "sk-secret-7"})
    here = f"endpoints/{endpoint['id']}/"
    status, error = send(as_manager, "patch", here, {"base_url": "http://127.0.0.1:10/v1"})
    assert status == 400 and "key" in error["fields"]
    status, changed = send(as_manager, "patch", here, {"base_url": "http://127.0.0.1:10/v1", "forget_key": True})
    assert status == 200 and not changed["has_key"] and changed["concurrency"] == 4
    assert send(as_manager, "patch", here, {"concurrency": 2})[1]["concurrency"] == 2
    assert as_manager.delete(API + here).status_code == 204 and not Endpoint.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"base_url": "ftp://example.org"}, "base_url"),
        ({"base_url": "http://key@example.org/v1"}, "base_url"),
        ({"name": ""}, "name"),
        ({"concurrency": 0}, "concurrency"),
        ({"price_in": "-1"}, "price_in"),
        ({"extra": {"model": "other"}}, "extra"),
        ({"extra": {"stop": ["\0"]}}, "extra"),
        ({"extra": {"\0": 1}}, "extra"),
        ({"extra": [1]}, "extra"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_at_its_field(as_manager, wrong, field):
    status, error = send(as_manager, "post", "endpoints/", SERVER | wrong)
    assert status == 400 and field in error["fields"] and not Endpoint.objects.exists()


# -- AI annotators -------------------------------------------------------------------------------------------


def test_an_ai_annotator_is_added_judges_and_is_worth_what_people_say(as_manager, project, server):
    server.say = lambda body, index: "A" if body["messages"][1]["content"].index("Short") < 150 else "B"
    endpoint = make_endpoint(project, server)
    new = {"name": "Brief", "endpoint": endpoint.pk, "rubric": "Shorter is better.", "protocol": "letter"}
    status, brief = send(as_manager, "post", "ai/", new)
    assert status == 201 and brief["edition"] == 1 and brief["protocol"] == "letter" and brief["is_on"]
    prompt = make_prompt(project, text="Why?")
    pair = make_comparison(
        project, prompt, judgements_required=2, first=make_completion(prompt, "Short."), second=make_completion(prompt, "A" * 300)
    )
    judge(pair, make_member(project, "annotator", "ada"), "first")
    run_sitting(start_sitting(AiAnnotator.objects.get()).pk)
    here = f"ai/{brief['id']}/"
    status, shown = send(as_manager, "get", here)
    assert shown["figures"]["judged"] == 1 and shown["figures"]["with_people"]["value"] == 1.0
    assert shown["figures"]["chose_a"]["value"] == 0.5
    (sitting,) = send(as_manager, "get", here + "sittings/")[1]["results"]
    assert (sitting["state"], sitting["progress"], sitting["requests"]) == ("done", 1, 2)
    given = {row["annotator"]: row["ai"] for row in send(as_manager, "get", "judgements/all/")[1]["results"]}
    assert given == {"ada": False, brief["username"]: True}
    assert {row["username"]: row["ai"] for row in send(as_manager, "get", "members/")[1]["results"]}[brief["username"]]


def test_another_rubric_is_another_edition_and_it_is_switched_off(as_manager, project, server):
    brief = create_ai_annotator(project=project, name="Brief", rubric="One.", endpoint=make_endpoint(project, server))
    status, changed = send(as_manager, "patch", f"ai/{brief.pk}/", {"rubric": "Two.", "is_on": False})
    assert status == 200 and (changed["edition"], changed["rubric"], changed["is_on"]) == (2, "Two.", False)
    assert changed["name"] == "Brief" and changed["protocol"] == "logprobs"
    editions = send(as_manager, "get", f"ai/{brief.pk}/rubrics/")[1]["results"]
    assert [(row["number"], row["text"]) for row in editions] == [(2, "Two."), (1, "One.")]


def test_what_ai_judgements_are_for(as_manager, project):
    assert send(as_manager, "get", "ai/purpose/") == (200, {"ai_judgements": AiJudgements.COUNT.value})
    assert send(as_manager, "put", "ai/purpose/", {"ai_judgements": "presort"}) == (200, {"ai_judgements": "presort"})
    assert send(as_manager, "put", "ai/purpose/", {"ai_judgements": "rule"})[0] == 400
    project.refresh_from_db()
    assert project.ai_judgements == AiJudgements.PRESORT


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, "endpoint"),
        ({"endpoint": 999_999}, "endpoint"),
        ({"version": 999}, "version"),
        ({"endpoint": 1, "version": 0}, "endpoint"),
        ({"version": 0, "rubric": " "}, "rubric"),
        ({"version": 0, "name": ""}, "name"),
        ({"version": 0, "protocol": "guess"}, "protocol"),
        ({"version": 0, "temperature": 3}, "temperature"),
    ],
)
def test_an_ai_annotator_that_cannot_be_is_refused_at_its_field(as_manager, project, wrong, field):
    make_version(project)
    status, error = send(as_manager, "post", "ai/", {"name": "Brief", "rubric": "Shorter."} | wrong)
    assert status == 400 and field in error["fields"] and not AiAnnotator.objects.exists()


@pytest.mark.parametrize("name", OPEN_TO_ANNOTATORS)
def test_no_address_shows_an_annotator_what_an_ai_said(client, place, server, name):
    """Of a pair that they have yet to judge: not its words, not its name, and nothing else differs either."""
    project, anna = place["project"], make_member(place["project"], "annotator", "anna")
    client.force_login(anna, "django.contrib.auth.backends.ModelBackend")
    project.comparisons.update(judgements_required=3)
    for comparison in project.comparisons.all():
        recount_places([comparison.pk])
    ask = getattr(client, API_TABLE[name].method)
    json = {"content_type": "application/json"} if API_TABLE[name].method != "get" else {}
    before = ask(address_of(name, place), {}, **json).content.decode()
    server.say = lambda body, index: "An unmistakable reason.\nVerdict: " + ("A" if index == 0 else "B")
    judge = create_ai_annotator(project=project, name="Kestrel", rubric="Shorter.", endpoint=make_endpoint(project, server),
                                gives_reasons=True, uses_logprobs=False)  # fmt: skip
    run_sitting(start_sitting(judge).pk)
    assert judge.user.judgements.exists()
    after = ask(address_of(name, place), {}, **json).content.decode()
    for words in ("unmistakable", "Kestrel", judge.user.username, "In one order"):
        assert words not in before and words not in after
    if name != "api_progress":  # how much was judged by everybody is no secret
        assert without_ids(after) == without_ids(before)


def without_ids(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", text)
