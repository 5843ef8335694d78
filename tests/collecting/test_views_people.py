"""Signing in and out, the account, the list of projects, guidelines and members."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Membership, User
from annotate.people.sign_in import create_sign_in_link
from tests.builders import make_comparison, make_member, make_project, make_user

PASSWORD = "seven green bottles"


@pytest.fixture
def olivia(owner):
    owner.set_password(PASSWORD)
    owner.save()
    return owner


def queries_of(client, url) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


# -- by password -------------------------------------------------------------------------------------------
def test_sign_in_by_password(client, olivia):
    answer = client.post(reverse("sign_in"), {"username": "olivia", "password": PASSWORD})
    assert answer.status_code == 302 and answer.url == "/"
    assert client.get("/").status_code == 200


def test_a_page_that_needs_a_person_leads_to_the_sign_in_page_and_back(client, olivia, project):
    asked = reverse("compare", args=[project.slug])
    answer = client.get(asked)
    assert answer.url == f"/sign-in/?next={asked}"
    assert client.post(answer.url, {"username": "olivia", "password": PASSWORD, "next": asked}).url == asked


def test_next_leads_to_no_other_site(client, olivia):
    sent = {"username": "olivia", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post(reverse("sign_in"), sent).url == "/"


def test_a_wrong_password_is_said_and_the_name_is_kept(client, olivia):
    answer = client.post(reverse("sign_in"), {"username": "olivia", "password": "wrong"})
    assert answer.status_code == 422 and 'value="olivia"' in answer.content.decode()
    assert "User name and password do not belong together." in answer.content.decode()


def test_too_many_wrong_passwords_close_the_name_for_a_while(client, olivia, settings):
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        answer = client.post(reverse("sign_in"), {"username": "olivia", "password": "wrong"})
    assert answer.status_code == 429 and "Too many attempts" in answer.content.decode()
    assert client.post(reverse("sign_in"), {"username": "olivia", "password": PASSWORD}).status_code == 429
    # A link still opens the account.
    assert client.post(create_sign_in_link(user=olivia).removeprefix(settings.BASE_URL)).status_code == 302


# -- by link -----------------------------------------------------------------------------------------------
@pytest.fixture
def link(annotator, settings):
    return create_sign_in_link(user=annotator).removeprefix(settings.BASE_URL)


def test_looking_at_a_link_does_not_use_it_up(client, link):
    for _ in range(2):
        page = client.get(link)
        assert page.status_code == 200 and "no-store" in page["Cache-Control"]
    assert client.head(link).status_code == 200
    assert client.post(link).url == "/"
    assert "set a password" in client.get("/").content.decode().lower()


def test_a_link_works_once(client, link):
    client.post(link)
    client.logout()
    answer = client.post(link)
    assert answer.status_code == 410 and "no longer works" in answer.content.decode()
    assert client.get("/").status_code == 302


def test_an_unknown_link(client, db):
    assert client.post("/sign-in/nonsense/").status_code == 410


def test_signing_out_takes_a_post(client, annotator):
    client.force_login(annotator)
    assert client.get(reverse("sign_out")).status_code == 405
    assert client.post(reverse("sign_out")).url == reverse("sign_in")
    assert client.get("/").status_code == 302


# -- account -----------------------------------------------------------------------------------------------
def test_account_sets_a_name(client, annotator):
    client.force_login(annotator)
    assert client.post(reverse("account"), {"form": "name", "name": "Anna Kovač"}).status_code == 302
    assert User.objects.get(pk=annotator.pk).name == "Anna Kovač"
    assert client.post(reverse("account"), {"form": "name", "name": "x" * 101}).status_code == 422


def test_account_sets_a_first_password_and_stays_signed_in(client, annotator):
    client.force_login(annotator)
    assert client.post(reverse("account"), {"form": "password", "new_password": PASSWORD}).status_code == 302
    assert client.get(reverse("account")).status_code == 200
    assert User.objects.get(pk=annotator.pk).check_password(PASSWORD)


@pytest.mark.parametrize("password", ["short", "password123", "12345678901234", ""])
def test_account_refuses_a_weak_password_at_its_field(client, annotator, password):
    client.force_login(annotator)
    answer = client.post(reverse("account"), {"form": "password", "new_password": password})
    assert answer.status_code == 422 and "field-error" in answer.content.decode()
    assert not User.objects.get(pk=annotator.pk).has_usable_password()


def test_account_asks_for_the_old_password(client, olivia):
    client.force_login(olivia)
    sent = {"form": "password", "new_password": "eight green bottles", "old_password": "wrong"}
    assert client.post(reverse("account"), sent).status_code == 422
    assert client.post(reverse("account"), sent | {"old_password": PASSWORD}).status_code == 302


def test_account_with_an_unknown_form(client, annotator):
    client.force_login(annotator)
    assert client.post(reverse("account"), {"form": "x"}).status_code == 422


# -- projects and guidelines -------------------------------------------------------------------------------
def test_projects_are_ones_own(client, project, annotator, stranger):
    make_comparison(project)
    elsewhere = make_project(name="Elsewhere")
    client.force_login(annotator)
    html = client.get("/").content.decode()
    assert "Taste" in html and "0 judged, 1 waiting" in html and elsewhere.name not in html
    assert reverse("compare", args=[project.slug]) in html  # not the project's page: it names versions
    client.force_login(stranger)
    assert "No project yet" in client.get("/").content.decode()


def test_projects_ask_the_database_as_often_for_one_as_for_thirty(client, owner):
    client.force_login(owner)
    one = queries_of(client, "/")
    for _ in range(29):
        project = make_project()
        make_comparison(project)
        Membership.objects.create(project=project, user=owner, role="manager")
    assert queries_of(client, "/") == one


def test_guidelines_are_for_members(client, project, viewer, stranger):
    project.guidelines = "Prefer the *shorter*\nof two."
    project.save()
    url = reverse("guidelines", args=[project.slug])
    client.force_login(viewer)
    assert "Prefer the <em>shorter</em>\nof two." in client.get(url).content.decode()
    client.force_login(stranger)
    assert client.get(url).status_code == 404


# -- members -----------------------------------------------------------------------------------------------
@pytest.fixture
def at(project):
    return lambda name, *rest: reverse(name, args=[project.slug, *rest])


def link_on(page) -> str:
    return re.search(r'id="sign-in-link" value="([^"]+)"', page.content.decode())[1]


@pytest.mark.parametrize("name", ["members", "member_link", "member_role", "member_remove"])
def test_members_are_managed_by_managers(client, annotator, viewer, stranger, at, name):
    url = at(name) if name == "members" else at(name, annotator.pk)
    for user, status in [(stranger, 404), (viewer, 403), (annotator, 403)]:
        client.force_login(user)
        assert client.post(url).status_code == status
    if name != "members":
        assert client.get(url).status_code == 405


def test_adding_a_person_shows_a_link_that_signs_them_in(client, owner, at, settings):
    client.force_login(owner)
    page = client.post(at("members"), {"username": "newcomer", "role": "annotator"})
    assert page.status_code == 200 and f"within {settings.SIGN_IN_LINK_HOURS} hours" in page.content.decode()
    link = link_on(page).removeprefix(settings.BASE_URL)
    assert link_on(page).startswith(settings.BASE_URL) and "sign-in-link" not in client.get(at("members")).content.decode()
    client.logout()
    client.post(link)
    assert client.get(at("compare")).status_code == 200


@pytest.mark.parametrize("username, role", [("", "viewer"), ("a b", "viewer"), ("x", "god")])
def test_adding_nonsense(client, owner, at, username, role):
    client.force_login(owner)
    answer = client.post(at("members"), {"username": username, "role": role})
    assert answer.status_code == 422 and "field-error" in answer.content.decode()
    assert Membership.objects.count() == 1


def test_adding_a_member_again_with_another_role_is_refused(client, owner, annotator, at):
    client.force_login(owner)
    answer = client.post(at("members"), {"username": annotator.username, "role": "viewer"})
    assert answer.status_code == 422 and "already in this project" in answer.content.decode()


def test_a_new_link_for_a_member(client, manager, annotator, at, settings):
    client.force_login(manager)
    link = link_on(client.post(at("member_link", annotator.pk)))
    assert client.post(link.removeprefix(settings.BASE_URL)).status_code == 302


def test_a_link_never_opens_more_than_its_maker_may_do(client, owner, manager, annotator, at):
    """Else a manager could sign in as the owner, or as anybody, by adding them to a project of their own."""
    client.force_login(manager)
    assert client.post(at("member_link", owner.pk)).status_code == 409
    Membership.objects.create(project=make_project(), user=annotator, role="owner")
    assert client.post(at("member_link", annotator.pk)).status_code == 409
    elsewhere = make_user("elsewhere")
    Membership.objects.create(project=make_project(), user=elsewhere, role="annotator")
    answer = client.post(at("members"), {"username": "elsewhere", "role": "annotator"}, follow=True)
    assert "sign-in-link" not in answer.content.decode() and "is a member now" in answer.content.decode()


def test_a_link_opens_no_project_in_which_its_maker_is_suspended(client, manager, annotator, at):
    """Else a suspended manager could act there as somebody else."""
    elsewhere = make_project()
    Membership.objects.create(project=elsewhere, user=manager, role="manager", suspended_at=timezone.now())
    Membership.objects.create(project=elsewhere, user=annotator, role="manager")
    client.force_login(manager)
    assert client.post(at("member_link", annotator.pk)).status_code == 409


def test_changing_a_role(client, owner, annotator, at, project):
    client.force_login(owner)
    assert client.post(at("member_role", annotator.pk), {"role": "manager"}).status_code == 302
    assert project.memberships.get(user=annotator).role == "manager"
    assert client.post(at("member_role", annotator.pk), {"role": "god"}).status_code == 422
    assert client.post(at("member_role", owner.pk), {"role": "viewer"}).status_code == 409  # the last owner
    for nobody in (999_999, 10**30):
        assert client.post(at("member_role", nobody), {"role": "viewer"}).status_code == 404


def test_removing(client, owner, manager, annotator, at, project):
    client.force_login(manager)
    assert client.post(at("member_remove", annotator.pk)).url == at("members")
    assert not project.memberships.filter(user=annotator).exists()
    assert client.post(at("member_remove", owner.pk)).status_code == 409
    assert client.post(at("member_remove", manager.pk)).url == "/"


def test_members_ask_the_database_as_often_for_one_as_for_thirty(client, owner, project, at):
    client.force_login(owner)
    one = queries_of(client, at("members"))
    for _ in range(29):
        make_member(project, "annotator")
    assert queries_of(client, at("members")) == one
