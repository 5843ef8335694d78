"""Invitation links: who may make them, what they open, and for how long."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Invitation, Membership, User
from annotate.people.invitations import (
    accept_invitation,
    create_invitation,
    find_invitation,
    join_as_new_person,
    revoke_invitation,
)
from annotate.people.members import MemberRefused
from annotate.projects.changes import set_archived
from tests.builders import make_member, make_project, make_user
from tests.collecting.test_concurrency import at_once

PASSWORD = "seven green bottles"


@pytest.fixture
def url(project):
    return reverse("invitations", args=[project.slug])


def member(user, project) -> Membership:
    return Membership.objects.get(user=user, project=project)


def invite(project, by, role="annotator", **fields) -> str:
    """The link's token."""
    _, link = create_invitation(project=project, by=member(by, project), role=role, **fields)
    return link.rstrip("/").rsplit("/", 1)[1]


def signing_up(**changes) -> dict[str, str]:
    return {"username": "nadia", "name": "Nadia B.", "password": PASSWORD} | changes


# -- making ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("by", "role", "code"),
    [
        ("owner", "owner", None), ("owner", "viewer", None), ("manager", "manager", None), ("manager", "annotator", None),
        ("manager", "owner", "owners_only"), ("annotator", "annotator", "managers_only"), ("viewer", "viewer", "managers_only"),
        ("owner", "boss", "unknown_role"),
    ],
)  # fmt: skip
def test_nobody_invites_above_their_own_role(project, by, role, code):
    person = make_member(project, by)
    if code is None:
        assert find_invitation(token=invite(project, person, role)).role == role
        return
    with pytest.raises(MemberRefused) as refused:
        invite(project, person, role)
    assert refused.value.code == code and not Invitation.objects.exists()


def test_the_token_is_not_stored(project, owner):
    token = invite(project, owner)
    row = str(Invitation.objects.values().get())
    assert token not in row and len(Invitation.objects.get().token_sha256) == 64


def test_making_one_in_the_browser_shows_its_link_once(client, project, manager, url):
    client.force_login(manager)
    answer = client.post(url, {"role": "annotator", "uses": 30, "days": 3, "note": "Night shift"})
    page = answer.content.decode()
    assert answer.status_code == 200 and 'id="invitation-link"' in page and "no-store" in answer["Cache-Control"]
    page = client.get(url).content.decode()
    assert 'id="invitation-link"' not in page and "Night shift" in page and "0 of 30" in page
    made = Invitation.objects.get()
    assert (made.by, made.uses_allowed) == (manager, 30)
    assert abs(made.expires_at - timezone.now() - timedelta(days=3)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("role", "owner"), ("role", ""), ("role", "boss"), ("uses", 0), ("uses", 1001), ("uses", "many"), ("days", 91),
     ("days", -1), ("note", "x" * 101), ("note", "a\0")],
)  # fmt: skip
def test_an_invitation_that_cannot_be_made_comes_back_with_what_was_typed(client, manager, url, field, value):
    client.force_login(manager)
    answer = client.post(url, {"role": "annotator", "uses": 2, "days": 3, "note": "Kept"} | {field: value})
    page = answer.content.decode()
    assert answer.status_code == 422 and f'id="id_{field}_error"' in page
    assert field == "note" or "Kept" in page
    assert not Invitation.objects.exists()


# -- opening -----------------------------------------------------------------------------------------------
def test_signed_in_one_button_joins(client, project, owner, stranger):
    address = reverse("join", args=[invite(project, owner)])
    client.force_login(stranger)
    page = client.get(address).content.decode()
    assert "Join “Taste”" in page and not Membership.objects.filter(user=stranger).exists()
    assert client.post(address).url == "/projects/taste/"
    assert member(stranger, project).role == "annotator"
    assert Invitation.objects.get().uses == 1


def test_signed_out_makes_an_account_and_joins(client, project, owner):
    address = reverse("join", args=[invite(project, owner)])
    page = client.get(address).content.decode()
    assert f"/sign-in/?next={address}" in page
    assert client.post(address, signing_up()).url == "/projects/taste/"
    nadia = User.objects.get(username="nadia")
    assert nadia.check_password(PASSWORD) and nadia.name == "Nadia B." and member(nadia, project).role == "annotator"
    assert client.get("/projects/taste/").status_code == 200


def test_signing_in_first_leads_back_to_the_invitation(client, project, owner, stranger):
    stranger.set_password(PASSWORD)
    stranger.save()
    address = reverse("join", args=[invite(project, owner)])
    sent = {"username": "stranger", "password": PASSWORD, "next": address}
    assert client.post(reverse("sign_in"), sent).url == address


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"username": "olivia"}, "username"), ({"username": "OLIVIA"}, "username"), ({"username": "a b"}, "username"),
        ({"username": ""}, "username"), ({"username": "x\0"}, "username"), ({"username": "x" * 151}, "username"),
        ({"password": "short"}, "password"), ({"password": ""}, "password"), ({"password": "nadia"}, "password"),
        ({"name": "x" * 101}, "name"),
    ],
)  # fmt: skip
def test_an_account_that_cannot_be_made_spends_nothing(client, project, owner, sent, field):
    address = reverse("join", args=[invite(project, owner)])
    answer = client.post(address, signing_up(**sent))
    page = answer.content.decode()
    assert answer.status_code == 422 and f'id="id_{field}_error"' in page
    assert User.objects.count() == 1 and Invitation.objects.get().uses == 0
    assert PASSWORD not in page


def test_a_member_stays_what_they_are_and_spends_nothing(client, project, owner, viewer):
    address = reverse("join", args=[invite(project, owner, "manager")])
    client.force_login(viewer)
    assert "member already" in client.get(address).content.decode()
    client.post(address)
    assert member(viewer, project).role == "viewer" and Invitation.objects.get().uses == 0


def used_up(project, owner):
    token = invite(project, owner)
    accept_invitation(token=token, user=make_user())
    return token


def expired(project, owner):
    token = invite(project, owner)
    Invitation.objects.update(expires_at=timezone.now())
    return token


def revoked(project, owner):
    token = invite(project, owner)
    revoke_invitation(invitation=Invitation.objects.get(), by=owner)
    return token


def maker_has_left(project, owner):
    maker = make_member(project, "manager")
    token = invite(project, maker)
    member(maker, project).delete()
    return token


def maker_is_no_owner_any_more(project, owner):
    maker = make_member(project, "owner")
    token = invite(project, maker, "owner")
    Membership.objects.filter(user=maker).update(role="manager")
    return token


def maker_is_deactivated(project, owner):
    maker = make_member(project, "owner")
    token = invite(project, maker)
    User.objects.filter(pk=maker.pk).update(is_active=False)
    return token


def archived(project, owner):
    token = invite(project, owner)
    set_archived(project=project, archived=True)
    return token


def unknown(project, owner):
    return "no-such-token"


@pytest.mark.parametrize(
    "how",
    [used_up, expired, revoked, maker_has_left, maker_is_no_owner_any_more, maker_is_deactivated, archived, unknown],
    ids=lambda how: how.__name__,
)
def test_a_link_that_opens_nothing(client, project, owner, stranger, how):
    address = reverse("join", args=[how(project, owner)])
    people, members = User.objects.count(), Membership.objects.count()
    for ask in (partial(client.get, address), partial(client.post, address, signing_up())):
        answer = ask()
        assert answer.status_code == 410 and "no longer works" in answer.content.decode()
    client.force_login(stranger)
    assert client.post(address).status_code == 410
    assert (User.objects.count(), Membership.objects.count()) == (people, members)


# -- managing ----------------------------------------------------------------------------------------------
def test_revoking_in_the_browser(client, project, owner, manager, url):
    token = invite(project, owner)
    client.force_login(manager)
    client.post(reverse("invitation_revoke", args=[project.slug, 1]))
    assert find_invitation(token=token) is None and Invitation.objects.get().revoked_by == manager
    assert "revoked" in client.get(url).content.decode()
    assert client.post(reverse("invitation_revoke", args=[project.slug, 2])).status_code == 404


def test_another_projects_invitation_is_not_ones_own(client, project, owner, stranger):
    elsewhere = make_project()
    Membership.objects.create(project=elsewhere, user=stranger, role="owner")
    invite(elsewhere, stranger)
    client.force_login(owner)
    assert client.post(reverse("invitation_revoke", args=[project.slug, 1])).status_code == 404
    assert Invitation.objects.get().revoked_at is None


def test_ten_thousand_invitations_do_not_slow_the_page(client, project, owner, url):
    client.force_login(owner)
    invite(project, owner)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url).status_code == 200
        return len(asked)

    few = queries()
    later = timezone.now() + timedelta(days=1)
    Invitation.objects.bulk_create(
        Invitation(project=project, number=n, token_sha256=f"{n:064}", by=owner, expires_at=later) for n in range(2, 10_001)
    )
    assert queries() == few
    page = client.get(url)
    assert page.content.decode().count("<tr>") == 21 and len(page.content) < 60_000
    assert "?before=9981" in page.content.decode()
    assert ">9980<" in client.get(url, {"before": 9981}).content.decode()
    for odd in ("x", "9" * 30, "-1", "\0"):
        assert client.get(url, {"before": odd}).status_code == 200
    # Finding one by its token asks an index.
    with CaptureQueriesContext(connection) as asked:
        assert find_invitation(token="unknown") is None
    assert len(asked) == 1


# -- at once -----------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_eight_people_at_once_and_three_places():
    project = make_project()
    owner = make_member(project, "owner")
    for _ in range(3):
        token = invite(project, owner, uses=3)
        people = [make_user() for _ in range(8)]
        joined = at_once(*(partial(accept_invitation, token=token, user=person) for person in people))
        assert len([membership for membership in joined if membership]) == 3
        assert Invitation.objects.latest("pk").uses == 3


@pytest.mark.django_db(transaction=True)
def test_two_new_people_at_once_and_one_place_leave_one_account():
    project = make_project()
    token = invite(project, make_member(project, "owner"))
    before = User.objects.count()
    at_once(*(partial(join_as_new_person, token=token, username=name, name="", password=PASSWORD) for name in ("one", "two")))
    assert User.objects.count() == before + 1 == Membership.objects.count()
