"""Projects: who makes them, what their addresses are, archiving, and settings that change while work goes on."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.judging.judgements import record_judgement
from annotate.models import Comparison, GuidelinesEdition, Membership, Project
from annotate.models.comparison import Purpose
from annotate.projects.changes import change_judgements_required, create_project, may_create_projects, set_archived
from annotate.queue.claims import claim_comparison
from annotate.queue.no_work import explain_no_work
from tests.builders import make_comparison, make_member, make_project, make_user
from tests.collecting.leases import assert_places_add_up


def judge(assignment, choice="a"):
    return record_judgement(annotator=assignment.annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice)


# -- making ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("role", "may"), [("owner", True), ("manager", True), ("annotator", False), ("viewer", False)])
def test_who_may_make_projects(project, role, may):
    assert may_create_projects(make_member(project, role)) is may


def test_staff_may_make_projects(stranger):
    assert not may_create_projects(stranger)
    assert may_create_projects(make_user("staff", is_staff=True))


def test_a_project_made_in_the_browser_belongs_to_who_made_it(client, manager):
    client.force_login(manager)
    answer = client.post(reverse("project_new"), {"name": "Good taste", "guidelines": "Be kind.", "grades": 4})
    made = Project.objects.get(name="Good taste")
    assert answer.url == f"/projects/{made.slug}/" == "/projects/good-taste/"
    assert (made.grades, made.guidelines, GuidelinesEdition.objects.get().by) == (4, "Be kind.", manager)
    assert Membership.objects.get(project=made).role == "owner" and Membership.objects.get(project=made).user == manager
    assert client.get(answer.url).status_code == 200


@pytest.mark.parametrize(
    ("sent", "field"),
    [({"name": ""}, "name"), ({"name": "x" * 101}, "name"), ({"name": "a\0"}, "name"), ({"grades": 3}, "grades"),
     ({"grades": "many"}, "grades"), ({"guidelines": "x" * 50_001}, "guidelines")],
)  # fmt: skip
def test_a_project_that_cannot_be_made_comes_back_with_what_was_typed(client, owner, sent, field):
    client.force_login(owner)
    answer = client.post(reverse("project_new"), {"name": "Mine", "guidelines": "Kept text.", "grades": 2} | sent)
    page = answer.content.decode()
    assert answer.status_code == 422 and f'id="id_{field}_error"' in page
    assert field == "guidelines" or "Kept text." in page
    assert Project.objects.count() == 1


@pytest.mark.parametrize(
    ("names", "slugs"),
    [
        (["Taste", "taste", "Taste!"], ["taste-2", "taste-3", "taste-4"]),
        (["New"], ["new-2"]),
        (["品質", "日本"], ["project", "project-2"]),
        (["x" * 100, "x" * 100], ["x" * 54, "x" * 54 + "-2"]),
    ],
)
def test_addresses_follow_the_names_and_are_never_anothers(project, owner, names, slugs):
    assert [create_project(name=name, by=owner).slug for name in names] == slugs


# -- archiving ---------------------------------------------------------------------------------------------
def test_an_archived_project_hands_out_nothing_and_takes_what_was_open(project, annotator):
    make_comparison(project), make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    set_archived(project=project, archived=True)
    assert claim_comparison(project=project, annotator=annotator) is None
    assert "archived" in explain_no_work(project=project, annotator=annotator)
    assert judge(lease).pk
    set_archived(project=project, archived=False)
    assert claim_comparison(project=project, annotator=annotator)


def test_owners_archive_and_take_up_again(client, project, owner, manager):
    address = reverse("project_archive", args=[project.slug])
    client.force_login(manager)
    assert client.post(address, {"archived": "1"}).status_code == 403
    client.force_login(owner)
    assert client.post(address, {"archived": "1"}, follow=True).status_code == 200
    page = client.get("/").content.decode()
    assert "1 archived" in page and "No project yet" not in page
    assert "Archived on" in client.get(reverse("project_settings", args=[project.slug])).content.decode()
    client.post(address, {"archived": "0"})
    assert Project.objects.get().archived_at is None


# -- judgements per comparison -----------------------------------------------------------------------------
@pytest.fixture
def people(project):
    return [make_member(project, "annotator") for _ in range(3)]


def required_and_free() -> list[tuple[int, int, str]]:
    return list(Comparison.objects.order_by("pk").values_list("judgements_required", "free_places", "state"))


def test_raising_and_lowering_changes_the_places_of_open_comparisons(project, people):
    """One judged, one leased, one untouched, one done; up to 3, down to 2, down to 1."""
    project.judgements_required = 2
    project.save()
    for priority in (4, 3, 2, 1):
        make_comparison(project, priority=priority)
    one, other, _ = people
    judge(claim_comparison(project=project, annotator=one)), judge(claim_comparison(project=project, annotator=other))  # done
    judge(claim_comparison(project=project, annotator=one))
    claim_comparison(project=project, annotator=one)
    assert required_and_free() == [(2, 0, "done"), (2, 1, "open"), (2, 1, "open"), (2, 2, "open")]
    assert change_judgements_required(project=project, required=3) == 3
    assert required_and_free() == [(2, 0, "done"), (3, 2, "open"), (3, 2, "open"), (3, 3, "open")]
    assert_places_add_up()
    change_judgements_required(project=project, required=1)
    assert required_and_free() == [(2, 0, "done"), (1, 0, "done"), (1, 0, "open"), (1, 1, "open")]
    assert_places_add_up()
    project.refresh_from_db()
    assert project.judgements_required == 1 and make_comparison(project).judgements_required == 1


def test_a_comparison_that_was_given_more_keeps_its_lead(project):
    make_comparison(project, judgements_required=3), make_comparison(project, purpose="evaluate")
    change_judgements_required(project=project, required=2)
    assert required_and_free() == [(4, 4, "open"), (1, 1, "open")]
    change_judgements_required(project=project, required=1)
    assert required_and_free() == [(3, 3, "open"), (1, 1, "open")]


def test_a_lease_that_is_out_when_the_number_falls_is_taken_all_the_same(project, people):
    project.judgements_required = 3
    project.save()
    make_comparison(project)
    leases = [claim_comparison(project=project, annotator=person) for person in people]
    change_judgements_required(project=project, required=1)
    assert_places_add_up()
    for lease in leases:
        assert not judge(lease).late
    assert required_and_free() == [(1, 0, "done")]
    assert_places_add_up()


def test_the_same_number_again_changes_nothing(project):
    make_comparison(project, judgements_required=5)
    assert change_judgements_required(project=project, required=1) == 0
    assert required_and_free() == [(5, 5, "open")]


def test_the_list_takes_the_same_queries_for_one_project_and_for_many(client, annotator, django_assert_num_queries) -> None:
    def open_list() -> str:
        return client.get(reverse("projects")).content.decode()

    client.force_login(annotator)
    project = annotator.memberships.get().project
    make_comparison(project)
    make_comparison(project, purpose=Purpose.GOLD)  # which is never used up, and so no pair that waits
    with CaptureQueriesContext(connection) as of_one:
        assert "0 judged, 1 waiting" in open_list()
    assignment = claim_comparison(project=project, annotator=annotator)
    record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a")
    for number in range(5):
        other = make_project(slug=f"more-{number}", name=f"More {number}")
        Membership.objects.create(project=other, user=annotator, role="annotator")
        make_comparison(other)
    with django_assert_num_queries(len(of_one)):
        page = open_list()
    assert page.count("0 judged, 1 waiting") == 5 and "1 judged, 0 waiting</span><span>1 by you" in page
