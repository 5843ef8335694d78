"""Personal tokens: kept as hashes, shown once, scoped, expiring, revoked; and what goes on around each request."""

import json
import uuid
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Judgement, SentOnce, Token
from annotate.people.tokens import MOST_PER_PERSON, TokenRefused, create_token, find_token
from tests.builders import make_comparison, make_member

ME = "/api/v1/me/"
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def token(annotator):
    return create_token(user=annotator, name="script", scopes=["read", "judge"], days=30)[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_only_its_hash_is_stored(annotator):
    row, text = create_token(user=annotator, name="script", scopes=["read"])
    stored = json.dumps(list(Token.objects.values()), default=str)
    assert text.startswith("pfl_") and len(text) > 40 and text not in stored and text.startswith(row.start)


def test_it_says_who_it_is(client, token, annotator, project):
    said = client.get(ME, headers=bearer(token)).json()
    assert said["username"] == "anna" and said["memberships"] == [{"project": "taste", "role": "annotator"}]
    assert said["token"]["scopes"] == ["read", "judge"] and said["token"]["expires_at"]


@pytest.mark.parametrize("change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now()}])
def test_one_that_is_over_is_refused(client, token, change):
    Token.objects.update(**change)
    answer = client.get(ME, headers=bearer(token))
    assert answer.status_code == 401 and answer.json()["code"] == "authentication_failed"
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer", "Bearer nonsense", "Bearer a b", "Bearer pfl_é", "bearer \x00"])
def test_nonsense_is_refused_even_beside_a_session(client, annotator, header):
    client.force_login(annotator, BACKEND)
    assert client.get(ME, headers={"Authorization": header}).status_code == 401


def test_a_person_who_may_no_longer_sign_in_has_no_tokens(client, token, annotator):
    annotator.is_active = False
    annotator.save()
    assert client.get(ME, headers=bearer(token)).status_code == 401


def test_its_last_use_is_noted_once_a_minute_at_most(token, django_assert_num_queries):
    with django_assert_num_queries(2):
        find_token(token)
    first = Token.objects.get().last_used_at
    assert first
    with django_assert_num_queries(1):
        find_token(token)
    Token.objects.update(last_used_at=first - timedelta(seconds=61))
    find_token(token)
    assert Token.objects.get().last_used_at > first - timedelta(seconds=1)


def test_csrf_is_asked_of_sessions_alone(token, annotator, project):
    make_comparison(project)
    strict = Client(enforce_csrf_checks=True)
    url = f"/api/v1/projects/{project.slug}/next/"
    assert strict.post(url, {}, content_type="application/json", headers=bearer(token)).status_code == 200
    strict.force_login(annotator, BACKEND)
    refused = strict.post(url, {}, content_type="application/json")
    assert refused.status_code == 403 and "CSRF" in refused.json()["message"]


def test_too_many_requests_of_one_token(client, token, annotator, settings):
    cache.clear()
    settings.API_RATE = "3/min"
    assert [client.get(ME, headers=bearer(token)).status_code for _ in range(4)] == [200, 200, 200, 429]
    other = create_token(user=annotator, name="other", scopes=["read"])[1]
    answer = client.get(ME, headers=bearer(other))
    assert answer.status_code == 200
    answer = client.get(ME, headers=bearer(token))
    assert answer.json()["code"] == "throttled" and int(answer["Retry-After"]) > 0
    cache.clear()


def test_no_more_than_anybody_needs(annotator):
    for number in range(MOST_PER_PERSON):
        create_token(user=annotator, name=str(number), scopes=["read"])
    with pytest.raises(TokenRefused, match="Revoke one"):
        create_token(user=annotator, name="one more", scopes=["read"])


# -- the page ------------------------------------------------------------------------------------------------


def test_one_is_made_and_shown_once(client, annotator):
    client.force_login(annotator, BACKEND)
    url = reverse("tokens")
    made = client.post(url, {"name": "nightly", "scopes": ["read"], "days": "30"})
    text = made.context["text"]
    assert text in made.content.decode() and "no-store" in made["Cache-Control"]
    assert text not in client.get(url).content.decode() and "nightly" in client.get(url).content.decode()
    token = find_token(text)
    assert token.user == annotator and 29 < (token.expires_at - timezone.now()).days + 1 <= 30


@pytest.mark.parametrize(
    "form", [{}, {"name": "x"}, {"name": "x", "scopes": ["all"]}, {"name": "\0", "scopes": ["read"]}, {"name": "x" * 101}]
)
def test_a_form_that_is_not_right_makes_none(client, annotator, form):
    client.force_login(annotator, BACKEND)
    assert client.post(reverse("tokens"), form).status_code == 422 and not Token.objects.exists()


def test_ones_own_is_revoked_and_nobody_elses(client, annotator, manager, token):
    row = Token.objects.get()
    client.force_login(manager, BACKEND)
    assert client.post(reverse("token_revoke", args=[row.pk])).status_code == 404
    client.force_login(annotator, BACKEND)
    assert client.post(reverse("token_revoke", args=[row.pk])).status_code == 302
    assert find_token(token) is None


# -- Idempotency-Key -----------------------------------------------------------------------------------------


@pytest.fixture
def judge(client, annotator, project, token):
    """judge(key, choice) for one comparison."""
    make_comparison(project)
    api = f"/api/v1/projects/{project.slug}/"
    shown = client.post(api + "next/", {}, content_type="application/json", headers=bearer(token)).json()["assignment"]

    def post(key: str, choice: str = "a", **more):
        body = {"assignment": shown, "key": str(uuid.UUID(int=7)), "choice": choice} | more
        headers = bearer(token) | {"Idempotency-Key": key}
        return client.post(api + "judgements/", body, content_type="application/json", headers=headers)

    return post


def test_the_same_request_again_has_the_same_answer(judge):
    first, again = judge("k1"), judge("k1")
    assert (first.status_code, first.json()) == (again.status_code, again.json()) and first.status_code == 201
    assert "Idempotent-Replay" not in first and again["Idempotent-Replay"] == "true"
    assert Judgement.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(judge):
    judge("k1")
    answer = judge("k1", "b")
    assert answer.status_code == 422 and answer.json()["code"] == "key_reused"


def test_a_refused_request_leaves_no_key(judge):
    assert judge("k1", "c").status_code == 400 and not SentOnce.objects.exists()
    assert judge("k1").status_code == 201


def test_after_a_day_the_key_is_new(judge):
    judge("k1")
    SentOnce.objects.update(created_at=timezone.now() - timedelta(hours=25))
    again = judge("k1")
    assert again.status_code == 201 and "Idempotent-Replay" not in again


def test_keys_of_two_people_do_not_meet(judge, client, project):
    judge("k1")
    other = make_member(project, "annotator")
    text = create_token(user=other, name="x", scopes=["judge"])[1]
    answer = client.post(
        f"/api/v1/projects/{project.slug}/next/", {}, content_type="application/json",
        headers=bearer(text) | {"Idempotency-Key": "k1"},
    )  # fmt: skip
    assert answer.status_code == 200 and "Idempotent-Replay" not in answer


@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
def test_a_key_that_is_none_is_refused(judge, key):
    answer = judge(key)
    assert answer.status_code == 400 and "Idempotency-Key" in answer.json()["fields"]


def test_what_failed_halfway_is_undone_with_its_key(judge, client, monkeypatch):
    """The judgement is stored and then something breaks: with the key, neither stays."""
    client.raise_request_exception = False
    monkeypatch.setattr("annotate.api.judging.JudgementOut", lambda judgement: 1 / 0)
    assert judge("k1").status_code == 500
    assert not Judgement.objects.exists() and not SentOnce.objects.exists()
