"""A failure on our side: one message that says what happened and what next, in the shape that was asked for."""

import errno

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
