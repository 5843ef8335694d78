"""Somebody new answers known pairs first, and how that goes decides what they get."""

import uuid

import pytest

from annotate.gold.calibration import excuse
from annotate.gold.known_answers import mark_gold, unmark_gold
from annotate.judging.judgements import record_judgement, take_back_last
from annotate.models import Judgement, Membership, Project
from annotate.queue.claims import claim_comparison, skip_comparison
from annotate.queue.no_work import explain_no_work
from tests.builders import make_comparison, make_member


@pytest.fixture
def calibrating(project, manager):
    """Five known answers (the first is better), five that are not, and a calibration of three."""
    for _ in range(5):
        mark_gold(comparison=make_comparison(project), low=1, high=4, by=manager)
        make_comparison(project)
    Project.objects.update(calibration_size=3, calibration_bar=0.6, gold_share=0)
    project.refresh_from_db()
    return project


def answer(project, person, right: bool = True) -> str:
    assignment = claim_comparison(project=project, annotator=person)
    choice = "ab"[assignment.swapped] if right else "ba"[assignment.swapped]
    record_judgement(annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice)
    return assignment.comparison.purpose


def calibration_of(project, person) -> str:
    return Membership.objects.get(project=project, user=person).calibration


def test_known_answers_come_first_and_then_work(calibrating, annotator):
    assert [answer(calibrating, annotator) for _ in range(5)] == ["gold"] * 3 + ["train"] * 2
    assert calibration_of(calibrating, annotator) == "passed"


@pytest.mark.parametrize(("right", "state"), [(2, "passed"), (1, "failed")])
def test_the_bar(calibrating, annotator, right, state):
    for number in range(3):
        answer(calibrating, annotator, right=number < right)
    assert answer(calibrating, annotator) == "train"
    assert calibration_of(calibrating, annotator) == state


def test_below_the_bar_nothing_comes_where_the_project_says_so(calibrating, annotator):
    Project.objects.update(calibration_stops=True)
    calibrating.refresh_from_db()
    for _ in range(3):
        answer(calibrating, annotator, right=False)
    assert claim_comparison(project=calibrating, annotator=annotator) is None
    assert "calibration pairs; too few" in explain_no_work(project=calibrating, annotator=annotator)
    excuse(membership=Membership.objects.get(project=calibrating, user=annotator))
    assert answer(calibrating, annotator) == "train"


def test_no_more_than_the_set_is_prefetched(calibrating, annotator):
    answer(calibrating, annotator), answer(calibrating, annotator)
    third = claim_comparison(project=calibrating, annotator=annotator)
    assert third.comparison.purpose == "gold"
    assert claim_comparison(project=calibrating, annotator=annotator, beside=third) is None


def test_managers_and_who_was_at_work_before_are_not_asked(calibrating, annotator, manager):
    Project.objects.update(calibration_size=0)
    calibrating.refresh_from_db()
    assert answer(calibrating, annotator) == "train"
    Project.objects.update(calibration_size=3)
    calibrating.refresh_from_db()
    assert answer(calibrating, annotator) == "train" and answer(calibrating, manager) == "train"
    assert calibration_of(calibrating, annotator) == "not_needed" and calibration_of(calibrating, manager) == ""


def test_where_there_is_less_gold_all_of_it_will_do(calibrating, annotator):
    Project.objects.update(calibration_size=9)
    calibrating.refresh_from_db()
    skip_comparison(annotator=annotator, assignment_id=claim_comparison(project=calibrating, annotator=annotator).pk)
    assert [answer(calibrating, annotator) for _ in range(5)] == ["gold"] * 4 + ["train"]
    assert calibration_of(calibrating, annotator) == "passed"


def test_without_any_gold_people_work(project, annotator):
    Project.objects.update(calibration_size=9)
    project.refresh_from_db()
    make_comparison(project)
    assert answer(project, annotator) == "train"


def test_the_page_counts_the_pairs_of_the_calibration(calibrating, client, annotator):
    client.force_login(annotator)
    url = f"/projects/{calibrating.slug}/compare/"
    assert "Calibration: pair 1 of 3" in client.get(url).content.decode()
    answer(calibrating, annotator)
    assert "Calibration: pair 2 of 3" in client.get(url).content.decode()
    shown = claim_comparison(project=calibrating, annotator=annotator)
    following = client.post(f"{url}next/", {"beside": shown.pk}).content.decode()
    assert "Calibration: pair 3 of 3" in following
    answer(calibrating, annotator), answer(calibrating, annotator)
    assert "Calibration" not in client.get(url).content.decode()


def test_everybody_gets_a_calibration_of_their_own(calibrating):
    people = [make_member(calibrating, "annotator") for _ in range(4)]
    assert [[answer(calibrating, person) for person in people] for _ in range(3)] == [["gold"] * 4] * 3


def test_an_answer_that_was_taken_back_is_asked_for_again(calibrating, annotator):
    answer(calibrating, annotator), answer(calibrating, annotator)
    take_back_last(project=calibrating, annotator=annotator)
    assert [answer(calibrating, annotator) for _ in range(3)] == ["gold"] * 2 + ["train"]
    assert Judgement.objects.standing().filter(assignment__is_gold=True).count() == 3


def test_a_pair_that_is_gold_no_more_is_replaced_by_another(calibrating, annotator):
    answer(calibrating, annotator, right=False)
    unmark_gold(comparison=Judgement.objects.get().comparison)
    assert [answer(calibrating, annotator) for _ in range(4)] == ["gold"] * 3 + ["train"]
    assert calibration_of(calibrating, annotator) == "passed"


def test_a_pair_that_is_gold_no_more_while_it_is_on_the_screen_does_not_count(calibrating, annotator):
    answer(calibrating, annotator), answer(calibrating, annotator)
    unmark_gold(comparison=claim_comparison(project=calibrating, annotator=annotator).comparison)
    answer(calibrating, annotator, right=False)  # it is still on the screen, and still no part of a triple
    assert Judgement.objects.for_training().count() == 0
    assert answer(calibrating, annotator) == "gold" and answer(calibrating, annotator) == "train"
    assert calibration_of(calibrating, annotator) == "passed"


def test_all_gold_removed_in_the_middle_lets_people_work(calibrating, annotator):
    answer(calibrating, annotator, right=False)
    for comparison in calibrating.comparisons.filter(purpose="gold"):
        unmark_gold(comparison=comparison)
    assert answer(calibrating, annotator) == "train"


def test_who_was_stopped_by_a_wrong_known_answer_goes_on_when_it_is_mended(calibrating, annotator):
    Project.objects.update(calibration_stops=True)
    calibrating.refresh_from_db()
    for number in range(3):
        answer(calibrating, annotator, right=number == 0)
    assert claim_comparison(project=calibrating, annotator=annotator) is None
    assert calibration_of(calibrating, annotator) == "failed"
    wrong = Judgement.objects.filter(outcome="second").first().comparison
    mark_gold(comparison=wrong, low=-4, high=-1, by=annotator)
    assert answer(calibrating, annotator) == "train"
    assert calibration_of(calibrating, annotator) == "passed"


def test_who_was_stopped_is_given_another_for_a_known_answer_that_is_removed(calibrating, annotator):
    Project.objects.update(calibration_stops=True)
    calibrating.refresh_from_db()
    for number in range(3):
        answer(calibrating, annotator, right=number == 0)
    assert claim_comparison(project=calibrating, annotator=annotator) is None
    unmark_gold(comparison=Judgement.objects.filter(outcome="second").first().comparison)
    assert answer(calibrating, annotator) == "gold" and answer(calibrating, annotator) == "train"


def test_a_pass_stands_whatever_becomes_of_the_known_answers(calibrating, annotator):
    for _ in range(4):
        answer(calibrating, annotator)
    for comparison in calibrating.comparisons.filter(purpose="gold"):
        mark_gold(comparison=comparison, low=-4, high=-1, by=annotator)
    assert answer(calibrating, annotator) == "train" and calibration_of(calibrating, annotator) == "passed"
