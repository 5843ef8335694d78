"""Suspended: the account stays, the work stops, and nothing that was on its way is lost."""

import uuid

import pytest
from django.urls import reverse

from annotate.judging.judgements import JudgementRefused, change_judgement, record_judgement, take_back_last, take_up_skipped
from annotate.models import Assignment, Comparison, Judgement, Membership
from annotate.people.members import MemberRefused, end_suspension, suspend_member
from annotate.queue.claims import claim_comparison, skip_comparison
from annotate.queue.no_work import explain_no_work
from tests.builders import make_comparison, make_member
from tests.collecting.leases import assert_places_add_up


def judge(lease, choice="a"):
    return record_judgement(annotator=lease.annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice=choice)


@pytest.fixture
def suspend(project):
    return lambda person, by="owner": suspend_member(project=project, user=person, by=by)


def test_no_work_and_the_leases_are_given_back(project, annotator, suspend):
    make_comparison(project), make_comparison(project)
    claim_comparison(project=project, annotator=annotator)
    suspend(annotator)
    assert not Assignment.objects.live().exists()
    assert claim_comparison(project=project, annotator=annotator) is None
    assert "suspended" in explain_no_work(project=project, annotator=annotator)
    assert {comparison.free_places for comparison in Comparison.objects.all()} == {1}
    assert_places_add_up()


def test_an_answer_on_its_way_is_kept_as_a_late_one(project, annotator, suspend):
    make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    suspend(annotator)
    assert judge(lease).late
    assert_places_add_up()


def test_nothing_is_taken_back_changed_or_taken_up(project, annotator, suspend):
    make_comparison(project), make_comparison(project)
    judged = judge(claim_comparison(project=project, annotator=annotator))
    skipped = skip_comparison(annotator=annotator, assignment_id=claim_comparison(project=project, annotator=annotator).pk)
    suspend(annotator)
    assert take_back_last(project=project, annotator=annotator) is None
    with pytest.raises(JudgementRefused, match="suspended"):
        change_judgement(annotator=annotator, assignment_id=judged.assignment_id, key=uuid.uuid4(), choice="b")
    with pytest.raises(JudgementRefused, match="suspended"):
        take_up_skipped(annotator=annotator, assignment_id=skipped.pk)
    assert Judgement.objects.standing().get() == judged


def test_the_work_goes_on_when_it_ends(project, annotator, suspend):
    make_comparison(project)
    suspend(annotator)
    end_suspension(project=project, user=annotator, by="manager")
    assert claim_comparison(project=project, annotator=annotator)


def test_only_owners_suspend_owners_and_never_the_last_one(project, owner, manager, suspend):
    for by, code in (("manager", "owners_only"), ("owner", "last_owner")):
        with pytest.raises(MemberRefused) as refused:
            suspend(owner, by)
        assert refused.value.code == code
    other = make_member(project, "owner")
    suspend(other)
    with pytest.raises(MemberRefused):  # the other one could not take it up again
        suspend(owner)


def test_a_suspended_manager_manages_nothing(client, project, owner, manager, suspend):
    client.force_login(manager)
    at = reverse("members", args=[project.slug])
    assert client.get(at).status_code == 200
    suspend(manager)
    answer = client.get(at)
    assert answer.status_code == 403 and "suspended" in answer.content.decode()
    assert client.post(reverse("api_runs", args=[project.slug]), {}, content_type="application/json").status_code == 403
    assert client.get(reverse("guidelines", args=[project.slug])).status_code == 200


def test_the_compare_page_says_why_there_is_nothing(client, project, annotator, suspend):
    make_comparison(project)
    suspend(annotator)
    client.force_login(annotator)
    page = client.get(reverse("compare", args=[project.slug]))
    assert page.status_code == 200 and "Your work here is suspended" in page.content.decode()


def test_in_the_browser(client, project, manager, annotator, stranger):
    client.force_login(manager)
    at = reverse("member_suspend", args=[project.slug, annotator.pk])
    page = client.post(at, {"suspended": "1"}, follow=True).content.decode()
    assert "suspended" in page and Membership.objects.get(user=annotator).suspended_at
    assert "suspended" in client.get(reverse("members", args=[project.slug])).content.decode()
    client.post(at, {"suspended": "0"})
    assert Membership.objects.get(user=annotator).suspended_at is None
    assert client.post(reverse("member_suspend", args=[project.slug, stranger.pk]), {"suspended": "1"}).status_code == 404
