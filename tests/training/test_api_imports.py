"""Files of judged comparisons by program: the same functions and refusals as the pages."""

import json

import pytest

from annotate.models import Comparison, Judgement, PreferenceImport
from tests.builders import make_member, make_project
from tests.trainer.tiny import make_row
from training.imports import ordering
from training.imports.bringing_in import run_import
from training.models import FileImport
from training.models.job import JobState

API = "/api/v1/projects/taste/"


@pytest.fixture(autouse=True)
def var(tmp_path, settings):
    settings.VAR_DIR = tmp_path


@pytest.fixture
def as_manager(client, project):
    client.force_login(make_member(project, "manager", "marek"), "django.contrib.auth.backends.ModelBackend")
    return client


def lines(*rows: dict) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def send(client, path: str, content: bytes, tmp_path, **fields: str):
    path_of_it = tmp_path / "pairs.jsonl"
    path_of_it.write_bytes(content)
    with path_of_it.open("rb") as file:
        return client.post(API + path, {"file": file, **fields})


def test_a_file_comes_in_is_listed_and_undone(as_manager, tmp_path):
    content = lines(make_row(0), make_row(1), {"prompt": "Why?", "chosen": "", "rejected": "b"})
    answer = send(as_manager, "imports/", content, tmp_path)
    assert answer.status_code == 201, answer.content
    coming = answer.json()
    batch = coming["batch"]
    assert coming["state"] == "done" and (batch["format"], batch["judgements"], batch["refused"]) == ("trl", 2, 1)
    assert as_manager.get(f"{API}uploads/{coming['upload']}/").json() == coming
    assert [row["number"] for row in as_manager.get(API + "imports/").json()["results"]] == [1]

    report = as_manager.get(API + "imports/1/refused/")
    assert json.loads(b"".join(report.streaming_content))["line"] == 3

    again = send(as_manager, "imports/", content, tmp_path).json()
    assert (again["batch"]["judgements"], again["batch"]["known"]) == (0, 2)

    undone = as_manager.post(API + "imports/1/undo/", {}, content_type="application/json")
    assert undone.status_code == 200 and undone.json()["comparisons"] == 2 and not Comparison.objects.exists()
    assert as_manager.get(API + "imports/1/").json()["undone_at"]


def test_a_look_at_a_file_says_what_came_of_it_and_stores_nothing(as_manager, tmp_path):
    content = lines({"prompt": "Why?", "better": "a", "worse": "b"}, {"prompt": "Why?", "better": "", "worse": "b"})
    names = json.dumps({"chosen": "better", "rejected": "worse"})
    answer = send(as_manager, "imports/preview/", content, tmp_path, format="trl", names=names)
    assert answer.status_code == 200, answer.content
    looked = answer.json()
    assert (looked["format"], looked["columns"], looked["readable"]) == ("trl", ["prompt", "better", "worse"], 1)
    assert looked["refused"][0]["line"] == 2 and looked["refused"][0]["next_step"]
    assert not PreferenceImport.objects.exists()
    assert send(as_manager, "imports/", content, tmp_path, format="trl", names=names).json()["batch"]["judgements"] == 1


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\x1f\x8b\x08 cut off", b"PK\x03\x04....", b"what is this"])
@pytest.mark.parametrize("path", ["imports/", "imports/preview/"])
def test_a_file_that_cannot_be_read_is_one_clear_error_and_leaves_nothing(as_manager, tmp_path, content, path):
    answer = send(as_manager, path, content, tmp_path)
    assert answer.status_code == 400 and answer.json()["fields"]["file"][0]
    assert not PreferenceImport.objects.exists() and not FileImport.objects.exists()
    assert not list((tmp_path / "uploads").rglob("*.upload"))


@pytest.mark.parametrize("names", ["[]", "{", '{"chosen": 1}', '"x"'])
def test_names_that_are_none_are_refused(as_manager, tmp_path, names):
    answer = send(as_manager, "imports/", lines(make_row()), tmp_path, names=names)
    assert answer.status_code == 400 and answer.json()["fields"]["names"]


def test_a_body_that_is_no_form_is_refused_in_words(as_manager):
    answer = as_manager.post(API + "imports/", {}, content_type="application/json")
    assert answer.status_code == 415 and answer.json()["message"]
    assert as_manager.post(API + "imports/", {}).json()["fields"]["file"]


def test_a_larger_file_is_a_workers_and_can_be_followed_and_cancelled(as_manager, project, tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "AT_ONCE", 10)
    answer = send(as_manager, "imports/", lines(make_row(0), make_row(1)), tmp_path)
    assert answer.status_code == 202 and answer.json()["state"] == "queued" and answer.json()["batch"] is None
    upload = answer.json()["upload"]
    run_import(FileImport.objects.get().pk)
    followed = as_manager.get(f"{API}uploads/{upload}/")
    assert followed.json()["state"] == "done" and followed.json()["batch"]["judgements"] == 2
    assert as_manager.get(f"{API}uploads/{upload}/", headers={"If-None-Match": followed["ETag"]}).status_code == 304

    other = send(as_manager, "imports/", lines(make_row(2)), tmp_path).json()["upload"]
    cancelled = as_manager.post(f"{API}uploads/{other}/cancel/", {}, content_type="application/json")
    assert cancelled.json()["state"] == "cancelled" and Judgement.objects.count() == 2


def test_one_that_failed_goes_on_and_one_that_did_not_is_refused(as_manager, project, tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "AT_ONCE", 10)
    upload = send(as_manager, "imports/", lines(make_row()), tmp_path).json()["upload"]
    go_on = f"{API}uploads/{upload}/go-on/"
    assert as_manager.post(go_on, {}, content_type="application/json").status_code == 409
    FileImport.objects.update(state=JobState.FAILED, error="The disk is full.")
    assert as_manager.post(go_on, {}, content_type="application/json").json()["state"] == "queued"


def test_what_is_still_coming_in_is_not_undone(as_manager, project):
    batch = project.imports.create(number=1, file_name="a.jsonl", format="trl")
    project.file_imports.create(upload="0b9f9a52-2f0e-4c53-9c0c-1f6f2f5f7d11", file_name="a.jsonl", asked={}, batch=batch)
    answer = as_manager.post(API + "imports/1/undo/", {}, content_type="application/json")
    assert answer.status_code == 409 and "cancel" in answer.json()["message"]
    assert as_manager.get(API + "imports/1/refused/").status_code == 404


def test_an_upload_of_another_project_is_not_there(as_manager, client, project, tmp_path):
    upload = send(as_manager, "imports/", lines(make_row()), tmp_path).json()["upload"]
    other = make_project()
    client.force_login(make_member(other, "owner"), "django.contrib.auth.backends.ModelBackend")
    assert client.get(f"/api/v1/projects/{other.slug}/uploads/{upload}/").status_code == 404
