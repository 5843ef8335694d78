"""What leads do, by program: gold, review, batches, suspending and leaving out. The same functions and refusals as the pages."""

import pytest

from annotate.models import Comparison, Decision, Exclusion, GoldAnswer, Handout, Judgement
from annotate.models.comparison import Purpose
from annotate.review.decisions import leave_as_it_is
from tests.builders import make_comparison, make_member, make_project
from tests.collecting.judged import judge

API = "/api/v1/projects/taste/"


@pytest.fixture
def as_manager(client, project):
    manager = make_member(project, "manager", "marek")
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def disputed(project) -> Comparison:
    comparison = make_comparison(project, judgements_required=2)
    for name, outcome in (("ada", "first"), ("bob", "second")):
        judge(comparison, make_member(project, "annotator", name), outcome, rationale=f"{name} says so")
    return comparison


def send(client, method: str, path: str, data: object = None) -> tuple[int, dict]:
    answer = getattr(client, method)(API + path, data, content_type="application/json")
    return answer.status_code, answer.json() if answer.content else {}


# -- gold ----------------------------------------------------------------------------------------------------


def test_a_pair_is_made_gold_changed_and_gold_no_more(as_manager, project):
    pair = make_comparison(project)
    status, gold = send(as_manager, "put", f"gold/{pair.pk}/", {"low": 1, "high": 4, "reason": "It names the source."})
    assert status == 200 and gold["is_gold"] and (gold["low"], gold["high"]) == (1, 4)
    assert gold["right"] == "A better" and gold["accuracy"] == {"count": 0, "of": 0, "value": None, "low": None, "high": None}
    status, gold = send(as_manager, "put", f"gold/{pair.pk}/", {"accepts_both_bad": True})
    assert status == 200 and (gold["low"], gold["accepts_both_bad"]) == (None, True)
    listed = as_manager.get(API + "gold/").json()
    assert [row["comparison"] for row in listed["results"]] == [pair.pk]
    assert as_manager.delete(f"{API}gold/{pair.pk}/").status_code == 204
    pair.refresh_from_db()
    assert pair.purpose == Purpose.TRAIN and as_manager.get(API + "gold/").json()["results"] == []


@pytest.mark.parametrize(
    ("data", "status"),
    [({}, 409), ({"low": 2}, 409), ({"low": 3, "high": 1}, 409), ({"low": -5, "high": 0}, 400), ({"low": "x"}, 400)],
)
def test_a_known_answer_that_is_none_is_refused_and_nothing_changes(as_manager, project, data, status):
    pair = make_comparison(project)
    got, error = send(as_manager, "put", f"gold/{pair.pk}/", data)
    assert got == status and error["message"] and not GoldAnswer.objects.exists()


def test_a_pair_of_an_evaluation_or_of_another_project_cannot_be_gold(as_manager, project):
    for other in (make_comparison(project, purpose="evaluate"), make_comparison(make_project())):
        status, _ = send(as_manager, "put", f"gold/{other.pk}/", {"low": 1, "high": 4})
        assert status == 404


def test_how_people_do_and_who_is_excused(as_manager, project):
    make_member(project, "annotator", "ada")
    project.calibration_size, project.calibration_stops = 1, True
    project.save()
    project.memberships.filter(user__username="ada").update(calibration="failed")
    people = {row["username"]: row for row in as_manager.get(API + "gold/people/").json()["people"]}
    assert people["ada"]["is_stopped"]
    status, row = send(as_manager, "post", "gold/people/ada/excuse/")
    assert status == 200 and row["calibration"] == "excused" and not row["is_stopped"]


# -- review --------------------------------------------------------------------------------------------------


def test_a_dispute_is_listed_read_settled_and_taken_back(as_manager, disputed):
    assert [row["comparison"] for row in as_manager.get(API + "review/").json()["results"]] == [disputed.pk]
    case = as_manager.get(f"{API}review/{disputed.pk}/").json()
    assert case["is_waiting"] and case["reasons"] == ["disagreement"]
    assert [(row["annotator"], row["ai"], row["standing"]) for row in case["judgements"]] == [
        ("ada", False, "counts"),
        ("bob", False, "counts"),
    ]
    decide = f"review/{disputed.pk}/decisions/"
    status, decision = send(as_manager, "post", decide, {"kind": "settled", "outcome": "second", "why": "It is right."})
    assert status == 201 and decision["by"] == "marek" and "settled it" in decision["words"]
    assert as_manager.get(API + "review/").json()["results"] == []
    status, again = send(as_manager, "post", decide, {"kind": "settled", "outcome": "first", "why": "No."})
    assert status == 409 and "settled already" in again["message"]
    status, back = send(as_manager, "delete", f"{decide}{decision['id']}/")
    assert status == 200 and back["taken_back_by"] == "marek"
    assert [row["id"] for row in as_manager.get(API + "review/decisions/").json()["results"]] == [decision["id"]]


def test_one_judgement_is_withdrawn_more_are_asked_for_and_it_is_left(as_manager, disputed):
    key = str(Judgement.objects.get(annotator__username="bob").key)
    decide = f"review/{disputed.pk}/decisions/"
    status, decision = send(as_manager, "post", decide, {"kind": "withdrew", "judgement": key, "why": "A slip."})
    assert status == 201 and decision["judgement"] == key
    assert Judgement.objects.get(key=key).withdrawn_at
    status, decision = send(as_manager, "post", decide, {"kind": "asked_more", "more": 2})
    assert status == 201 and decision["more"] == 2
    assert send(as_manager, "post", decide, {"kind": "left"})[0] == 201
    assert Decision.objects.count() == 3


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"kind": "settled", "outcome": "first"}, "why"),
        ({"kind": "settled", "why": "x"}, "outcome"),
        ({"kind": "asked_more"}, "more"),
        ({"kind": "withdrew", "why": "x"}, "judgement"),
        ({"kind": "withdrew", "why": "x", "judgement": "00000000-0000-0000-0000-000000000000"}, "judgement"),
        ({"kind": "guessed"}, "kind"),
        ({}, "kind"),
    ],
)
def test_a_decision_that_lacks_something_names_it(as_manager, disputed, data, field):
    status, error = send(as_manager, "post", f"review/{disputed.pk}/decisions/", data)
    assert status == 400 and field in error["fields"] and not Decision.objects.exists()


def test_a_decision_made_since_is_not_overridden_unseen(as_manager, disputed, project):
    other = make_member(project, "manager", "nora")
    leave_as_it_is(comparison_id=disputed.pk, by=other)
    settle = {"kind": "settled", "outcome": "first", "why": "It is right."}
    status, error = send(as_manager, "post", f"review/{disputed.pk}/decisions/", settle)
    assert status == 409 and "quicker" in error["message"]
    newest = as_manager.get(f"{API}review/{disputed.pk}/").json()["decisions"][0]["id"]
    assert send(as_manager, "post", f"review/{disputed.pk}/decisions/", settle | {"seen": newest})[0] == 201


# -- batches -------------------------------------------------------------------------------------------------


def test_a_batch_is_handed_out_and_released(as_manager, project):
    make_member(project, "annotator", "ada")
    for _ in range(3):
        make_comparison(project)
    status, handout = send(as_manager, "post", "handouts/", {"name": "First", "people": ["ada"], "count": 2})
    assert status == 201 and (handout["number"], handout["size"], handout["people"]) == (1, 2, ["ada"])
    status, handout = send(as_manager, "post", "handouts/1/release/")
    assert status == 200 and handout["released_at"] and not Comparison.objects.exclude(handout=None).exists()


def test_a_batch_for_nobody_or_of_nothing_is_refused(as_manager, project):
    make_member(project, "annotator", "ada")
    status, error = send(as_manager, "post", "handouts/", {"name": "x", "people": ["zoe", "ada"]})
    assert status == 400 and "zoe" in error["fields"]["people"][0] and "ada" not in error["fields"]["people"][0]
    status, error = send(as_manager, "post", "handouts/", {"name": "x", "people": ["ada"]})
    assert status == 409 and "No open comparison" in error["message"] and not Handout.objects.exists()


# -- people --------------------------------------------------------------------------------------------------


def test_a_member_is_suspended_and_goes_on(as_manager, project):
    make_member(project, "annotator", "ada")
    for _ in range(2):  # twice is as good as once
        status, member = send(as_manager, "put", "members/ada/suspension/")
        assert status == 200 and member["suspended_at"]
    status, member = send(as_manager, "delete", "members/ada/suspension/")
    assert status == 200 and member["suspended_at"] is None


def test_a_manager_does_not_suspend_an_owner(as_manager, project):
    make_member(project, "owner", "olga")
    status, error = send(as_manager, "put", "members/olga/suspension/")
    assert status == 409 and error["code"] == "owners_only"


def test_judgements_are_left_out_and_count_again(as_manager, disputed, project):
    assert send(as_manager, "put", "members/ada/exclusion/", {})[0] == 400
    project.memberships.filter(user__username="ada").delete()  # who has left can still be left out
    status, row = send(as_manager, "put", "members/ada/exclusion/", {"why": "Clicked without reading."})
    assert status == 200 and row["excluded"] and Exclusion.objects.get().why == "Clicked without reading."
    assert as_manager.get(API + "members/ada/exclusion/").json()["excluded"]
    assert send(as_manager, "delete", "members/ada/exclusion/")[1] == {"username": "ada", "excluded": False}
    assert as_manager.get(API + "members/nobody/exclusion/").status_code == 404
