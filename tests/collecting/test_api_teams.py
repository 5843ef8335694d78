"""Invitations, guidelines and pauses by program: the same functions and refusals as the pages."""

import pytest

from annotate.models import GuidelinesEdition, Invitation
from tests.builders import make_comparison, make_member

API = "/api/v1/projects/taste/"
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def as_manager(client, project):
    client.force_login(make_member(project, "manager", "marek"), BACKEND)
    return client


def send(client, method: str, path: str, data: object = None, **headers: str):
    answer = getattr(client, method)(API + path, data, content_type="application/json", headers=headers)
    return answer.status_code, answer.json()


# -- invitations ---------------------------------------------------------------------------------------------


def test_an_invitation_is_made_listed_used_and_revoked(as_manager, client, project):
    status, made = send(as_manager, "post", "invitations/", {"uses": 2, "note": "The new shift"})
    assert status == 201 and made["state"] == "open" and made["by"] == "marek" and "/join/" in made["link"]
    listed = as_manager.get(API + "invitations/").json()["results"]
    assert [row["number"] for row in listed] == [1] and "link" not in listed[0]
    client.logout()
    address = "/" + made["link"].split("/", 3)[3]
    joined = client.post(address, {"username": "nora", "name": "", "password": "a long enough one 7"})
    assert joined.status_code == 302 and project.memberships.get(user__username="nora").role == "annotator"

    client.force_login(project.memberships.get(role="manager").user, BACKEND)
    status, revoked = send(client, "post", "invitations/1/revoke/")
    assert status == 200 and (revoked["state"], revoked["uses"]) == ("revoked", 1)
    assert client.get(API + "invitations/1/").json() == revoked
    assert send(client, "post", "invitations/1/revoke/")[1] == revoked


def test_a_manager_invites_nobody_above_themselves(as_manager):
    status, error = send(as_manager, "post", "invitations/", {"role": "owner"})
    assert status == 409 and error["message"] and not Invitation.objects.exists()


@pytest.mark.parametrize("wrong", [{"role": "king"}, {"uses": 0}, {"days": 91}, {"uses": "many"}, {"note": "x" * 101}])
def test_an_invitation_that_cannot_be_is_refused_at_its_field(as_manager, wrong):
    status, error = send(as_manager, "post", "invitations/", wrong)
    assert status == 400 and error["fields"].keys() == wrong.keys() and not Invitation.objects.exists()


def test_an_idempotency_key_keeps_no_link(as_manager):
    links = {send(as_manager, "post", "invitations/", {}, **{"Idempotency-Key": "one"})[1]["link"] for _ in range(2)}
    assert len(links) == 2


# -- guidelines ----------------------------------------------------------------------------------------------


def test_guidelines_are_written_read_and_kept_as_editions(as_manager, client, project):
    assert as_manager.get(API + "guidelines/").json() == {"edition": 0, "text": "", "why": "", "unread": False}
    status, first = send(as_manager, "put", "guidelines/", {"text": "Prefer the shorter one.", "based_on": 0})
    assert status == 200 and (first["edition"], first["unread"]) == (1, False)
    send(as_manager, "put", "guidelines/", {"text": "Prefer the right one.", "why": "Length is not all.", "based_on": 1})
    assert send(as_manager, "put", "guidelines/", {"text": "Prefer the right one."})[1]["edition"] == 2  # the same text again
    editions = as_manager.get(API + "guidelines/editions/").json()["results"]
    assert [(row["number"], row["text"], row["by"]) for row in editions] == [
        (2, "Prefer the right one.", "marek"),
        (1, "Prefer the shorter one.", "marek"),
    ]
    assert as_manager.get(API + "guidelines/editions/1/").json() == editions[1]

    client.force_login(make_member(project, "annotator", "ada"), BACKEND)
    assert client.get(API + "guidelines/").json()["unread"]
    assert client.get(API + "guidelines/").json()["unread"]  # looking is not reading
    status, read = send(client, "post", "guidelines/read/", {"edition": 2})
    assert status == 200 and not read["unread"]
    assert send(client, "post", "guidelines/read/", {"edition": 3})[0] == 404


def test_two_who_write_at_once_are_told(as_manager, project):
    send(as_manager, "put", "guidelines/", {"text": "One.", "based_on": 0})
    status, error = send(as_manager, "put", "guidelines/", {"text": "Two.", "based_on": 0})
    assert status == 409 and "based_on 1" in error["message"] and GuidelinesEdition.objects.count() == 1


# -- pausing -------------------------------------------------------------------------------------------------


def test_a_paused_project_hands_out_nothing_until_it_goes_on(as_manager, client, project):
    make_comparison(project)
    status, paused = send(as_manager, "put", "pause/", {"reason": "Back on Monday."})
    assert status == 200 and paused["paused"] and paused["reason"] == "Back on Monday."
    client.force_login(make_member(project, "annotator", "ada"), BACKEND)
    assert send(client, "post", "next/")[1]["assignment"] is None
    assert client.get(API + "pause/").json() == paused
    client.force_login(project.memberships.get(role="manager").user, BACKEND)
    assert send(client, "delete", "pause/")[1] == {"paused": False, "paused_at": None, "reason": ""}
    client.force_login(project.memberships.get(role="annotator").user, BACKEND)
    assert send(client, "post", "next/")[1]["assignment"]
