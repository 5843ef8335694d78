"""Joining, changing roles, leaving."""

import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotate.judging.judgements import record_judgement
from annotate.models import Assignment, Comparison, Judgement, Membership, User
from annotate.people.members import MemberRefused, add_member, change_role, remove_member
from annotate.people.sign_in import redeem
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_member


def refusal(call, **kwargs):
    before = list(Membership.objects.order_by("pk").values())
    with pytest.raises(MemberRefused) as refused:
        call(**kwargs)
    assert list(Membership.objects.order_by("pk").values()) == before
    return refused.value.code


def test_a_new_person(project):
    membership = add_member(project=project, username=" kim ", role="annotator", name="Kim B.")
    assert (membership.role, membership.user.username, membership.user.name) == ("annotator", "kim", "Kim B.")
    assert not User.objects.get(username="kim").has_usable_password()


def test_somebody_who_has_an_account(project, stranger):
    assert add_member(project=project, username="stranger", role="viewer", name="ignored").user == stranger
    stranger.refresh_from_db()
    assert stranger.name == ""


def test_adding_again(project, annotator):
    assert add_member(project=project, username="anna", role="annotator").user == annotator
    assert Membership.objects.count() == 1
    assert refusal(add_member, project=project, username="anna", role="viewer") == "already_member"


@pytest.mark.parametrize("username", ["", "   ", "with space", "x" * 151, "a/b", "nul\0"])
def test_a_user_name_that_cannot_be(project, username):
    assert refusal(add_member, project=project, username=username, role="viewer") == "invalid"


def test_an_unknown_role(project, annotator):
    assert refusal(add_member, project=project, username="kim", role="boss") == "unknown_role"
    assert refusal(change_role, project=project, user=annotator, role="boss") == "unknown_role"


def test_changing_a_role(project, owner, annotator):
    assert change_role(project=project, user=annotator, role="manager").role == "manager"
    assert Membership.objects.get(user=annotator).role == "manager"


def test_who_may_no_longer_judge_gives_the_places_back(project, owner, annotator):
    for leave in (lambda: change_role(project=project, user=annotator, role="viewer"),
                  lambda: remove_member(project=project, user=annotator)):  # fmt: skip
        make_comparison(project)
        change_role(project=project, user=annotator, role="annotator")
        assert claim_comparison(project=project, annotator=annotator)
        leave()
        assert not Assignment.objects.live().exists()
        assert not Comparison.objects.filter(free_places=0).exists()


def test_the_judgements_of_who_left_stand(project, owner, annotator):
    make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")
    remove_member(project=project, user=annotator)
    assert Judgement.objects.standing().count() == 1
    assert not Membership.objects.filter(user=annotator).exists()


def test_the_last_owner_stays(project, owner, manager):
    assert refusal(remove_member, project=project, user=owner) == "last_owner"
    assert refusal(change_role, project=project, user=owner, role="manager") == "last_owner"
    second = make_member(project, "owner")
    second.is_active = False
    second.save()
    assert refusal(remove_member, project=project, user=owner) == "last_owner"
    change_role(project=project, user=manager, role="owner")
    remove_member(project=project, user=owner)


def test_only_owners_make_and_unmake_owners(project, owner, manager, annotator):
    by = {"project": project, "by": "manager"}
    assert refusal(add_member, username="kim", role="owner", **by) == "owners_only"
    assert refusal(change_role, user=manager, role="owner", **by) == "owners_only"
    assert refusal(change_role, user=owner, role="viewer", **by) == "owners_only"
    assert refusal(remove_member, user=owner, **by) == "owners_only"
    assert not User.objects.filter(username="kim").exists()
    change_role(user=annotator, role="manager", **by)
    remove_member(user=annotator, **by)


def test_somebody_who_is_not_in_the_project(project, stranger):
    assert refusal(change_role, project=project, user=stranger, role="viewer") == "not_a_member"
    assert refusal(remove_member, project=project, user=stranger) == "not_a_member"


def test_the_command_prints_a_way_in(project):
    out = StringIO()
    call_command("add_member", "taste", "kim", role="manager", stdout=out)
    *_, link = out.getvalue().split()
    assert "kim is in “Taste” as manager." in out.getvalue()
    assert redeem(token=link.rstrip("/").rsplit("/", 1)[1]).username == "kim"


def test_the_command_says_what_is_wrong(project, annotator):
    with pytest.raises(CommandError, match=r"no project “nope”. There are: taste"):
        call_command("add_member", "nope", "kim")
    with pytest.raises(CommandError, match="already in this project"):
        call_command("add_member", "taste", "anna", role="owner")
    annotator.is_active = False
    annotator.save()
    with pytest.raises(CommandError, match="deactivated"):
        call_command("add_member", "taste", "anna", stdout=StringIO())
