"""A failure on our side: one message that says what happened and what next, in the shape that was asked for."""

import errno
import io
import logging

import pytest
from django.db import OperationalError

from annotate.views import compare
from tests.builders import make_member

CASES = [
    (OperationalError("database or disk is full"), 503, "disk_full", "disk is full"),
    (OSError(errno.ENOSPC, "No space left on device"), 503, "disk_full", "free some space"),
    (OSError(errno.EROFS, "Read-only file system"), 503, "not_writable", "may not write"),
    (OperationalError("database is locked"), 503, "database_away", "Try again"),
    (OperationalError("attempt to write a readonly database"), 503, "database_away", "may only be read"),
    (ZeroDivisionError("secret"), 500, "server_error", "log"),
]


@pytest.fixture
def judge(client, project):
    client.raise_request_exception = False
    client.force_login(make_member(project, "annotator"), "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def failing(monkeypatch, request):
    def fail(**kwargs):
        raise request.param

    monkeypatch.setattr(compare, "claim_comparison", fail)
    monkeypatch.setattr("annotate.api.judging.claim_comparison", fail)


@pytest.mark.parametrize("failing, status, code, words", CASES, indirect=["failing"], ids=[case[2] for case in CASES])
def test_what_failed_is_said(judge, project, failing, status, code, words):
    page = judge.get(f"/projects/{project.slug}/compare/")
    assert page.status_code == status and words in page.content.decode() and "secret" not in page.content.decode()
    for answer in (
        judge.post(f"/api/v1/projects/{project.slug}/next/", {}, content_type="application/json"),
        judge.post(f"/projects/{project.slug}/compare/next/", headers={"Accept": "application/json"}),
    ):
        assert answer.status_code == status and answer.json()["code"] == code and words in answer.json()["message"]
        assert "secret" not in answer.content.decode()


API = "/api/v1/projects/taste/"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("get", "/api/v1/nothing/", {}, 404, "not_found"),
        ("get", "/api/", {}, 404, "not_found"),
        ("post", API + "nothing/", {}, 404, "not_found"),
        ("get", "/api/v1/projects/nowhere/next/", {}, 404, "not_found"),
        ("get", API + "next/", {}, 405, "method_not_allowed"),
        ("put", API + "judgements/", {}, 405, "method_not_allowed"),
        ("get", API + "next/", {"HTTP_HOST": "evil.example"}, 400, "bad_request"),
        ("post", API + "next/", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
def test_the_api_answers_in_its_one_shape_whatever_is_asked(judge, project, method, path, options, status, code):
    answer = getattr(judge, method)(path, **options)
    assert answer.status_code == status and answer["Content-Type"] == "application/json"
    assert answer.json()["code"] == code and set(answer.json()) == {"code", "message", "fields"}


def test_the_api_refuses_in_its_one_shape(client, project, viewer):
    anonymous = client.post(API + "next/")
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    not_a_judge = client.post(API + "next/")
    client.handler.enforce_csrf_checks = True
    without_token = client.post(API + "next/")
    for answer, status, code in (
        (anonymous, 401, "not_authenticated"),
        (not_a_judge, 403, "permission_denied"),
        (without_token, 403, "permission_denied"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code) and answer.json()["message"]


@pytest.mark.parametrize("who", ["anonymous", "judge"])
def test_an_unknown_page_is_a_page(client, project, who, request):
    client = request.getfixturevalue("judge") if who == "judge" else client
    page = client.get("/nothing/")
    assert page.status_code == 404 and "Nothing here" in page.content.decode()
    assert client.get("/api/v1/nothing/").json()["code"] == "not_found"


@pytest.fixture
def log(monkeypatch):
    """What the server writes on its terminal."""
    (terminal,) = [handler for handler in logging.getLogger().handlers if handler.name == "terminal"]
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "stream", stream)
    return stream


def test_the_address_of_a_button_opened_in_the_browser_is_a_page(judge, project):
    answer = judge.get(f"/projects/{project.slug}/compare/judge/")
    page = answer.content.decode()
    assert answer.status_code == 405 and answer["Allow"] == "POST" and f'href="/projects/{project.slug}/"' in page
    assert "Nothing was" in page and "Content-Security-Policy" in answer


def test_what_is_refused_takes_one_line_of_the_log(judge, project, log):
    assert judge.get("/projects/taste/members/").status_code == 403
    assert judge.get("/projects/nowhere/").status_code == 404
    assert judge.get("/", HTTP_HOST="evil.example").status_code == 400
    first, second, third = log.getvalue().splitlines()
    assert "/projects/taste/members/" in first and "/projects/nowhere/" in second and "evil.example" in third


@pytest.mark.parametrize("failing", [ZeroDivisionError("secret")], indirect=True)
def test_what_failed_on_our_side_keeps_its_traceback(judge, project, failing, log):
    assert judge.get("/projects/taste/compare/").status_code == 500
    assert "Traceback" in log.getvalue() and "secret" in log.getvalue()
