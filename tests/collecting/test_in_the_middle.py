"""What changes while pairs are on screens: the answer that is on its way is kept, refused with its reason, and never lost."""

import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.gold.known_answers import mark_gold
from annotate.models import Assignment, Comparison, Judgement, Membership, Project
from annotate.models.scale import Grades
from annotate.people.members import change_role, remove_member, suspend_member
from annotate.projects.changes import change_judgements_required, set_archived
from annotate.queue.claims import claim_comparison, release_lapsed, supersede
from annotate.queue.handouts import hand_out
from annotate.queue.pausing import pause_project
from annotate.review.decisions import settle_comparison
from tests.builders import make_comparison, make_member, make_version
from tests.collecting.judged import judge
from tests.collecting.leases import assert_places_add_up

SCRIPT = {"Accept": "application/json"}


@pytest.fixture
def shown(project, annotator):
    """A pair on the annotator's screen, and one after it."""
    first = make_comparison(project, priority=1)
    make_comparison(project)
    assignment = claim_comparison(project=project, annotator=annotator)
    assert assignment.comparison == first
    return assignment


@pytest.fixture
def send(client, annotator, project, shown):
    """send(**changed): the answer that the page has on its way, from the person's browser."""
    client.force_login(annotator)
    key = uuid.uuid4()

    def post(**changed):
        given = {"assignment": shown.pk, "key": key, "choice": "a", "rationale": "Because.", "then": "next"} | changed
        return client.post(reverse("compare_judge", args=[project.slug]), given, headers=SCRIPT)

    return post


def standing() -> int:
    return Judgement.objects.standing().count()


MEANWHILE = {
    "archived": lambda project, shown, by: set_archived(project=project, archived=True),
    "paused": lambda project, shown, by: pause_project(project=project, by=by, reason="Later"),
    "suspended": lambda project, shown, by: suspend_member(project=project, user=shown.annotator),
    "gold": lambda project, shown, by: mark_gold(comparison=shown.comparison, low=1, high=4, by=by),
    "another version serves": lambda project, shown, by: supersede(project=project, version_id=make_version(project).pk),
    "handed to others": lambda project, shown, by: hand_out(
        project=project, by=by, name="Batch", people=[make_member(project, "annotator")], count=9
    ),
    "another scale": lambda project, shown, by: Project.objects.update(grades=8),
    "fewer judgements": lambda project, shown, by: change_judgements_required(project=project, required=1),
    "calibration is asked for": lambda project, shown, by: Project.objects.update(calibration_size=5, calibration_stops=True),
    "reasons are off": lambda project, shown, by: Project.objects.update(rationale="off"),
    "the pair was settled": lambda project, shown, by: settle_judged(shown, by),
    "the lease ran out": lambda project, shown, by: (
        Assignment.objects.update(expires_at=timezone.now() - timedelta(hours=9)),
        release_lapsed(),
    ),
    "the clock went back": lambda project, shown, by: Assignment.objects.update(
        leased_at=timezone.now() + timedelta(hours=2), expires_at=timezone.now() + timedelta(hours=3)
    ),
}


def settle_judged(shown, by) -> None:
    judge(shown.comparison, make_member(shown.comparison.project, "annotator"), "second")
    settle_comparison(comparison_id=shown.comparison_id, by=by, outcome="second", strength=1, grades=Grades.TWO, why="Plain.")


@pytest.mark.parametrize("what", MEANWHILE)
def test_an_answer_on_its_way_is_kept_whatever_has_changed(project, shown, send, manager, what):
    MEANWHILE[what](project, shown, manager)
    before = standing()
    assert send().status_code == 200 and send().status_code == 200  # the browser was not told, and sends it again
    assert standing() == before + 1
    kept = Judgement.objects.get(annotator=shown.annotator)
    assert kept.rationale == "Because." and kept.outcome == ("second" if shown.swapped else "first")
    if what != "the pair was settled":
        assert_places_add_up()


def test_the_choice_is_taken_away_while_it_is_on_its_way(project, shown, send):
    """It is refused in words, nothing is stored, and the same pair comes again with what is offered now."""
    Project.objects.update(allows_tie=False)
    refused = send(choice="tie")
    assert refused.status_code == 422 and "does not offer" in refused.json()["message"] and not standing()
    assert claim_comparison(project=project, annotator=shown.annotator) == shown
    assert send(choice="b").status_code == 200 and standing() == 1


def test_a_reason_is_asked_for_while_the_answer_is_on_its_way(project, shown, send):
    Project.objects.update(rationale="strong")
    refused = send(rationale=" ")
    assert refused.status_code == 422 and "rationale" in refused.json()["fields"] and not standing()
    assert send().status_code == 200


@pytest.mark.parametrize("to", ["viewer", "nobody"])
def test_who_may_not_judge_any_more_keeps_the_answer_in_the_browser_and_may_send_it_when_they_may_again(
    project, shown, send, owner, to
):
    """The page keeps what was answered with 403 or 404: `outbox.js` takes it for somebody who is signed out."""
    person = shown.annotator
    if to == "viewer":
        change_role(project=project, user=person, role="viewer")
    else:
        remove_member(project=project, user=person)
    assert send().status_code in (403, 404) and not standing()
    assert_places_add_up()
    Membership.objects.update_or_create(project=project, user=person, defaults={"role": "annotator"})
    assert send().status_code == 200 and standing() == 1
    assert_places_add_up()


def test_a_promotion_while_their_pair_is_on_screen_makes_a_manager_of_them_and_changes_nothing_else(project, shown, send):
    change_role(project=project, user=shown.annotator, role="manager")
    assert send().status_code == 200 and standing() == 1


def test_the_server_dies_after_it_has_stored_the_answer_and_before_it_has_said_so(project, shown, send, monkeypatch):
    """The transaction is over, the reply never came: sent again, it is the same answer, and the next pair comes with it."""
    from annotate.views import compare

    def dies(*args, **kwargs):
        raise SystemExit

    with monkeypatch.context() as broken, pytest.raises(SystemExit):
        broken.setattr(compare, "accept", dies)
        send()
    assert standing() == 1
    again = send()
    assert again.status_code == 200 and again.json()["pair"] and not again.json()["already"] and standing() == 1


def test_back_and_again_with_another_answer_changes_nothing_and_says_so(project, shown, send):
    assert send().status_code == 200
    back = send(key=uuid.uuid4(), choice="b")
    assert back.status_code == 200 and back.json()["already"] and standing() == 1


def test_a_comparison_that_is_deleted_with_its_import_takes_no_answer_and_is_no_fault(project, shown, send):
    Comparison.objects.filter(pk=shown.comparison_id).delete()
    refused = send()
    assert refused.status_code == 409 and refused.json()["code"] == "not_yours"
