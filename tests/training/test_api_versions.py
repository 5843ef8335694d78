"""Versions, their curves and the playground by program: the same functions as the pages call."""

import csv
import json

import pytest
from django_tasks_db.models import DBTaskResult

from annotate.models import Comparison
from tests.builders import make_version
from tests.training.endpoints import make_endpoint
from tests.training.rows import add_events, make_trained
from training.endpoints.registering import serve_endpoint
from training.models import RunEvent, Tryout, Version, VersionAlias
from training.runs import curves

API = "/api/v1/projects/taste/"
JSON = {"content_type": "application/json"}
TOLD = {"tokens": 3, "finish_reason": "stop", "logprob": -1.5, "dtype": "float32", "seed": 7}


@pytest.fixture
def api(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")

    def ask(method: str, path: str, data: object = None):
        answer = getattr(client, method)(API + path, data, **({} if method == "get" else JSON))
        return answer.status_code, answer.json() if answer.content else None

    return ask


@pytest.fixture
def two(project) -> tuple[Version, Version]:
    base = make_version(project, serving=True)
    return base, make_trained(project, base)


def test_notes_tags_and_the_archive(api, two):
    status, said = api("patch", "versions/1/", {"notes": "Short.\nRight.", "tags": ["brief", "brief"]})
    assert status == 200 and (said["notes"], said["tags"], said["archived"]) == ("Short.\nRight.", ["brief"], False)
    status, said = api("patch", "versions/1/", {"archived": True})
    assert said["archived"] and said["notes"] == "Short.\nRight."
    assert not api("patch", "versions/1/", {"archived": False})[1]["archived"]
    status, said = api("patch", "versions/0/", {"archived": True, "notes": "Not kept."})
    assert status == 409 and "serves" in said["message"] and not Version.objects.get(number=0).notes
    for bad in ({"notes": "x" * 20_001}, {"notes": "a\0b"}, {"tags": ["x" * 41]}, {"tags": ["x"] * 21}, {"archived": "perhaps"}):
        assert api("patch", "versions/1/", bad)[0] == 400, bad


def test_an_alias_moves_from_version_to_version_and_is_dropped(api, two):
    assert api("put", "versions/0/aliases/best/")[1]["aliases"] == ["best"]
    assert api("put", "versions/1/aliases/Best/")[1]["aliases"] == ["best"]
    assert api("get", "versions/0/")[1]["aliases"] == [] and VersionAlias.objects.count() == 1
    for refused in ("serving", "two%20words", "x" * 41):
        status, said = api("put", f"versions/1/aliases/{refused}/")
        assert status == 400 and said["fields"]["alias"]
    assert api("delete", "versions/1/aliases/best/")[1]["aliases"] == []
    assert api("delete", "versions/1/aliases/best/")[0] == api("delete", "versions/1/aliases/a%00b/")[0] == 404


def test_files_are_deleted_only_of_what_nobody_needs(api, two):
    status, said = api("post", "versions/0/remove/", {})
    assert status == 409 and "serves" in said["message"]
    status, said = api("post", "versions/1/remove/", {})
    assert status == 200 and said["files_deleted"] and said["archived"]
    assert DBTaskResult.objects.filter(task_path="training.tasks.remove_files").count() == 1


def test_curves_come_as_files_with_every_point(api, client, two):
    run = two[1].run
    add_events(run, steps=12)
    points = list(curves.rows_of(run))
    table = b"".join(client.get(f"{API}runs/{run.number}/curves.csv")).decode()
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == len(points) == RunEvent.objects.filter(kind__in=["step", "heldout"]).count()
    assert float(rows[0]["loss"]) == points[0]["loss"]
    listed = json.loads(b"".join(client.get(f"{API}runs/{run.number}/curves.json")))
    assert [row["step"] for row in listed] == [row["step"] for row in points]
    assert client.get(f"{API}runs/{run.number}/curves.xml").status_code == 404


def test_the_playground_is_asked_followed_and_made_a_comparison(api, client, two):
    asked = {"prompt": "Why is the sky blue?", "first": 1, "second": 0, "temperature": 0.5, "seed": 3}
    status, said = api("post", "playground/", asked)
    assert status == 202 and (said["state"], said["first"], said["second"], said["seed"]) == ("queued", 1, 0, 3)
    assert said["prompt"] == [{"role": "user", "content": "Why is the sky blue?"}] and said["max_new_tokens"] > 0
    url = f"{API}playground/{said['id']}/"
    seen = client.get(url)
    assert client.get(url, headers={"If-None-Match": seen["ETag"]}).status_code == 304
    Tryout.objects.update(state="running", first_text="Beca")
    grown = client.get(url, headers={"If-None-Match": seen["ETag"]})
    assert grown.status_code == 200 and grown.json()["first_text"] == "Beca"
    assert api("post", f"playground/{said['id']}/compare/", {})[0] == 409
    Tryout.objects.update(state="done", first_text="Because.", second_text="So.", told={"first": TOLD, "second": TOLD})
    for _ in range(2):
        status, said = api("post", f"playground/{said['id']}/compare/", {})
        assert status == 200 and said["in_queue"]
    assert Comparison.objects.get().prompt.source == "playground"
    assert [row["id"] for row in api("get", "playground/")[1]["results"]] == [said["id"]]


def test_what_cannot_be_asked_is_refused(api, project):
    assert api("post", "playground/", {"prompt": "Hi!"})[0] == 409  # nothing serves
    make_version(project, serving=True)
    assert api("post", "playground/", {"prompt": "Hi!"})[1]["second"] is None
    for bad in (
        {}, {"prompt": ""}, {"prompt": "a\0b"}, {"prompt": [{"role": "assistant", "content": "Hi!"}]},
        {"first": 7}, {"second": 7}, {"temperature": 9}, {"top_p": 0}, {"max_new_tokens": 99_999}, {"seed": -1},
    ):  # fmt: skip
        body = {"prompt": "Hi!"} | bad if bad else {}
        assert api("post", "playground/", body)[0] == 400, bad
    assert Tryout.objects.count() == 1


def test_an_endpoint_is_not_asked_here(api, project):
    version = serve_endpoint(endpoint=make_endpoint(project, "http://127.0.0.1:9/v1"))
    status, said = api("post", "playground/", {"prompt": "Hi!", "first": version.number})
    assert status == 400 and "weights" in said["fields"]["first"][0]
    assert api("post", "playground/", {"prompt": "Hi!"})[0] == 409 and not Tryout.objects.exists()
