"""From a choice on the screen to one row, and back."""

import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from annotate.judging import judgements
from annotate.judging.judgements import CHOICES, JudgementRefused, record_judgement, take_back_last
from annotate.models import Assignment, Comparison, Judgement, Membership, Project
from annotate.queue.claims import MAX_LEASES, claim_comparison, release_lapsed, skip_comparison
from annotate.review.decisions import withdraw_judgement
from tests.builders import make_comparison, make_member, make_project
from tests.collecting.leases import assert_places_add_up, run_out


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


@pytest.fixture
def lease(project, annotator):
    make_comparison(project)
    return claim_comparison(project=project, annotator=annotator)


def judge(assignment, choice="a", key=None, annotator=None, **fields):
    return record_judgement(
        annotator=annotator or assignment.annotator, assignment_id=assignment.pk, key=key or uuid.uuid4(), choice=choice, **fields
    )


def skip(assignment):
    return skip_comparison(annotator=assignment.annotator, assignment_id=assignment.pk)


def refusal(assignment, *args, **kwargs):
    before = Judgement.objects.count()
    with pytest.raises(JudgementRefused) as refused:
        judge(assignment, *args, **kwargs)
    assert Judgement.objects.count() == before
    assert_places_add_up()
    return refused.value


# -- what is stored ----------------------------------------------------------------------------------------

STORED = {
    ("a", False): "first",
    ("b", False): "second",
    ("a", True): "second",
    ("b", True): "first",
    ("tie", False): "tie",
    ("tie", True): "tie",
    ("both_bad", False): "both_bad",
    ("both_bad", True): "both_bad",
}


@pytest.mark.parametrize(("shown", "outcome"), STORED.items())
def test_what_is_chosen_is_what_is_stored(lease, shown, outcome):
    choice, swapped = shown
    Assignment.objects.update(swapped=swapped, grades=6)
    judgement = judge(lease, choice, seconds=12.5, rationale="clearer", strength=3)
    judgement.refresh_from_db()
    assert judgement.outcome == outcome
    assert judgement.strength == (3 if choice in "ab" else 0)
    assert (judgement.seconds, judgement.rationale, judgement.late) == (12.5, "clearer", False)
    lease.refresh_from_db()
    assert lease.state == "judged"
    assert Comparison.objects.get().state == "done"
    assert_places_add_up()


def test_a_comparison_is_done_with_its_last_required_judgement(project, annotator, bob):
    comparison = make_comparison(project, judgements_required=2)
    for person, state in ((annotator, "open"), (bob, "done")):
        judge(claim_comparison(project=project, annotator=person))
        comparison.refresh_from_db()
        assert comparison.state == state


@pytest.mark.parametrize(("sent", "stored"), [(-4, 0), (1e9, 86400), (float("inf"), 86400), (7, 7), (None, None)])
def test_seconds_are_clipped(lease, sent, stored):
    assert judge(lease, seconds=sent).seconds == stored


def test_what_no_database_takes_is_left_out_of_the_rationale(lease):
    judgement = judge(lease, rationale="good\0 \ud83d end")
    judgement.refresh_from_db()
    assert judgement.rationale == "good ? end"


# -- once --------------------------------------------------------------------------------------------------


def test_the_same_key_finds_the_same_row(lease):
    key = uuid.uuid4()
    first = judge(lease, "a", key)
    assert judge(lease, "b", key) == first
    assert Judgement.objects.get().outcome == first.outcome


def test_another_key_for_a_judged_assignment_finds_the_standing_row(lease):
    first = judge(lease, "a")
    assert judge(lease, "b") == first
    assert Judgement.objects.count() == 1
    assert_places_add_up()


def test_the_database_allows_one_standing_judgement_per_assignment(lease):
    first = judge(lease)
    with pytest.raises(IntegrityError), transaction.atomic():
        Judgement.objects.create(
            assignment=lease, comparison=lease.comparison, annotator=lease.annotator, outcome="tie", strength=0
        )
    assert Judgement.objects.get() == first


def test_a_retry_is_answered_even_if_the_project_has_changed_since(project, lease):
    first = judge(lease, "tie", key := uuid.uuid4())
    project.allows_tie = False
    project.save()
    assert judge(lease, "tie", key) == first


def test_a_withdrawn_judgements_key_records_nothing_again(project, annotator, lease):
    first = judge(lease, "a", key := uuid.uuid4())
    take_back_last(project=project, annotator=annotator)
    again = judge(lease, "a", key)
    assert again == first
    assert again.withdrawn_at
    assert Judgement.objects.standing().count() == 0
    lease.refresh_from_db()
    assert lease.state == "leased"


# -- refusals ----------------------------------------------------------------------------------------------


def test_an_outsider_cannot_tell_a_real_id_from_none(project, lease, bob, stranger, viewer):
    answers = {refusal(lease, annotator=person).message for person in (bob, stranger, viewer)}
    unknown = Assignment(pk=uuid.uuid4(), annotator=bob)
    error = refusal(unknown)
    assert answers == {error.message}
    assert error.code == "not_yours"


@pytest.mark.parametrize("role", [None, "viewer"])
def test_who_may_no_longer_judge_is_an_outsider(annotator, lease, role):
    membership = Membership.objects.filter(user=annotator)
    membership.update(role=role) if role else membership.delete()
    assert refusal(lease).code == "not_yours"


def test_a_skipped_comparison_takes_no_answer(annotator, lease):
    skip_comparison(annotator=annotator, assignment_id=lease.pk)
    assert refusal(lease).code == "skipped"


@pytest.mark.parametrize("choice", ["", "A", "left", "first", "c", None, 1, ["a"]])
def test_an_unknown_choice(lease, choice):
    error = refusal(lease, choice)
    assert error.code == "unknown_choice"
    assert set(error.fields) == {"choice"}
    assert all(known in error.message for known in CHOICES)


@pytest.mark.parametrize(("choice", "switch"), [("tie", "allows_tie"), ("both_bad", "allows_both_bad")])
def test_a_choice_that_is_not_offered(project, lease, choice, switch):
    setattr(project, switch, False)
    project.save()
    error = refusal(lease, choice)
    assert error.code == "not_offered"
    assert set(error.fields) == {"choice"}
    other = "tie" if choice == "both_bad" else "both_bad"
    assert judge(lease, other).outcome == other


@pytest.mark.parametrize("seconds", [float("nan"), "12", True, []])
def test_seconds_that_are_no_number(lease, seconds):
    assert refusal(lease, seconds=seconds).code == "invalid_seconds"


@pytest.mark.parametrize("strength", [0, -1, 4, 1.5, True, "2", None])
def test_a_strength_that_is_not_on_the_scale(lease, strength):
    Assignment.objects.update(grades=6)
    error = refusal(lease, strength=strength)
    assert (error.code, set(error.fields)) == ("unknown_strength", {"strength"})
    assert "1 (slightly better), 2 (better), 3 (significantly better)" in error.message
    assert judge(lease, "tie", strength=strength).strength == 0


def test_with_two_grades_the_strength_may_be_left_out(lease):
    assert judge(lease).strength == 1


@pytest.mark.parametrize(("before", "after", "strength"), [(8, 2, 4), (2, 8, None)])
def test_a_pair_keeps_the_scale_it_was_shown_with(project, annotator, lease, before, after, strength):
    """The setting is changed while the pair is on screen: the answer is taken as it was meant, and Undo shows the same row."""
    Assignment.objects.update(grades=before)
    project.grades = after
    project.save()
    assert judge(lease, strength=strength).strength == (strength or 1)
    assert take_back_last(project=project, annotator=annotator).grades == before
    make_comparison(project)
    assert claim_comparison(project=project, annotator=annotator, beside=lease).grades == after


@pytest.mark.parametrize("rationale", ["x" * 10_001, None, 3])
def test_a_rationale_that_is_too_long_or_no_text(lease, rationale):
    assert refusal(lease, rationale=rationale).code == "invalid_rationale"


@pytest.mark.parametrize(
    ("asked", "grades", "choice", "strength", "needed"),
    [
        ("strong", 6, "a", 3, True), ("strong", 6, "b", 3, True), ("strong", 6, "a", 2, False), ("strong", 6, "tie", None, False),
        ("strong", 2, "b", None, True), ("strong", 2, "both_bad", None, False), ("strong", 8, "a", 4, True),
        ("optional", 6, "a", 3, False), ("off", 6, "a", 3, False),
    ],
)  # fmt: skip
def test_a_reason_is_needed_with_the_strongest_grade_where_the_project_says_so(
    project, lease, asked, grades, choice, strength, needed
):
    Assignment.objects.update(grades=grades)
    project.rationale = asked
    project.save()
    if needed:
        for blank in ("", "  \n"):
            error = refusal(lease, choice, strength=strength, rationale=blank)
            assert (error.code, set(error.fields)) == ("rationale_needed", {"rationale"})
    else:
        judge(lease, choice, strength=strength)
        return
    assert judge(lease, choice, strength=strength, rationale="It is wrong.").rationale == "It is wrong."


def test_a_reason_that_comes_though_none_is_asked_for_is_kept(project, lease):
    project.rationale = "off"
    project.save()
    assert judge(lease, rationale="typed before the setting changed").rationale


def test_a_key_that_is_no_uuid(lease):
    assert refusal(lease, key="abc").code == "invalid_key"


def test_a_key_serves_one_assignment(project, annotator, bob, lease):
    make_comparison(project, judgements_required=2)
    judge(lease, key=(key := uuid.uuid4()))
    for person in (annotator, bob):
        assert refusal(claim_comparison(project=project, annotator=person), key=key).code == "key_reused"


def test_a_key_used_for_another_assignment_at_the_same_moment(project, annotator, lease, monkeypatch):
    """Both requests looked before either had stored: the unique key decides."""
    make_comparison(project)
    judge(lease, key=(key := uuid.uuid4()))
    monkeypatch.setattr("annotate.judging.judgements._find_stored", lambda **_: None)
    assert refusal(claim_comparison(project=project, annotator=annotator), key=key).code == "key_reused"


# -- late --------------------------------------------------------------------------------------------------


def test_a_late_answer_takes_its_place_if_it_is_free(lease):
    run_out(lease)
    release_lapsed()
    assert Comparison.objects.get().free_places == 1
    judgement = judge(lease)
    assert judgement.late
    assert (Comparison.objects.get().free_places, Comparison.objects.get().state) == (0, "done")
    assert_places_add_up()


def test_a_late_answer_whose_lease_nobody_has_needed(lease):
    run_out(lease)
    assert judge(lease).late
    assert_places_add_up()


def test_a_late_answer_is_kept_when_another_has_the_place(project, bob, lease):
    run_out(lease)
    other = claim_comparison(project=project, annotator=bob)
    assert other.comparison == lease.comparison
    assert judge(lease).late
    assert_places_add_up()
    assert not judge(other).late
    assert Judgement.objects.standing().count() == 2
    assert_places_add_up()


def test_a_skip_beside_a_late_answer_opens_no_place(project, bob, lease):
    run_out(lease)
    other = claim_comparison(project=project, annotator=bob)
    judge(lease)
    skip_comparison(annotator=bob, assignment_id=other.pk)
    assert Comparison.objects.get().free_places == 0
    assert_places_add_up()


# -- undo --------------------------------------------------------------------------------------------------


def test_undo_gives_the_same_pair_back_with_the_same_sides(project, annotator, lease):
    judgement = judge(lease)
    again = take_back_last(project=project, annotator=annotator)
    assert (again.pk, again.swapped, again.state) == (lease.pk, lease.swapped, "leased")
    judgement.refresh_from_db()
    assert judgement.withdrawn_at
    assert (Comparison.objects.get().state, Comparison.objects.get().free_places) == ("open", 0)
    second = judge(again, "b")
    assert second != judgement
    assert Judgement.objects.standing().get() == second
    assert_places_add_up()


def test_undo_shows_its_pair_first_and_gives_the_prefetched_one_back(project, annotator, lease):
    for _ in range(3):
        make_comparison(project)
    following = claim_comparison(project=project, annotator=annotator, beside=lease)
    judge(lease)
    after_that = claim_comparison(project=project, annotator=annotator, beside=following)
    assert take_back_last(project=project, annotator=annotator) == lease
    assert Assignment.objects.live().count() == MAX_LEASES
    assert claim_comparison(project=project, annotator=annotator) == lease
    assert claim_comparison(project=project, annotator=annotator, beside=lease) == following
    after_that.refresh_from_db()
    assert after_that.state == "expired"
    assert_places_add_up()


def test_undo_of_a_late_answer_still_comes_first(project, annotator, lease):
    make_comparison(project, priority=-1)
    run_out(lease)
    release_lapsed()
    other = make_comparison(project, priority=1)
    shown = claim_comparison(project=project, annotator=annotator)
    assert shown.comparison == other
    judge(lease)
    Assignment.objects.filter(pk=lease.pk).update(leased_at=shown.leased_at + timedelta(seconds=1))
    take_back_last(project=project, annotator=annotator)
    assert claim_comparison(project=project, annotator=annotator) == lease


def test_undo_again_goes_one_further_back(project, annotator):
    for _ in range(4):
        make_comparison(project)
    leases = []
    for _ in range(3):
        leases.append(claim_comparison(project=project, annotator=annotator))
        judge(leases[-1])
    for expected in reversed(leases):
        assert take_back_last(project=project, annotator=annotator) == expected
        assert claim_comparison(project=project, annotator=annotator) == expected
        assert Assignment.objects.live().count() <= MAX_LEASES
        assert_places_add_up()
    assert take_back_last(project=project, annotator=annotator) is None


def test_undo_touches_only_ones_own_in_this_project(project, annotator, bob, lease):
    judge(lease)
    other = make_project()
    for person in (annotator, bob):
        Membership.objects.create(project=other, user=person, role="annotator")
    assert take_back_last(project=project, annotator=bob) is None
    assert take_back_last(project=other, annotator=annotator) is None
    assert Judgement.objects.standing().count() == 1


@pytest.mark.parametrize("role", [None, "viewer"])
def test_undo_asks_whether_they_may_still_judge(project, annotator, lease, role):
    judge(lease)
    membership = Membership.objects.filter(user=annotator)
    membership.update(role=role) if role else membership.delete()
    assert take_back_last(project=project, annotator=annotator) is None
    assert Judgement.objects.standing().count() == 1


def test_an_undone_pair_that_is_left_goes_to_somebody_else(project, annotator, bob, lease):
    judge(lease)
    again = take_back_last(project=project, annotator=annotator)
    run_out(again)
    assert claim_comparison(project=project, annotator=bob).comparison == lease.comparison
    assert_places_add_up()


def test_undo_of_one_judgement_more_than_required(project, annotator, bob, lease):
    run_out(lease)
    judge(claim_comparison(project=project, annotator=bob))
    judge(lease)
    take_back_last(project=project, annotator=annotator)
    assert Comparison.objects.get().state == "done"
    assert_places_add_up()


def test_undo_after_a_skip_takes_the_skip_back_and_leaves_the_judgement_before_it(project, annotator, lease):
    judgement = judge(lease)
    make_comparison(project)
    following = claim_comparison(project=project, annotator=annotator)
    skip_comparison(annotator=annotator, assignment_id=following.pk, reason="The two are the same")
    assert take_back_last(project=project, annotator=annotator) == following
    following.refresh_from_db()
    assert (following.state, following.skip_reason) == ("leased", "")
    assert Judgement.objects.standing().get() == judgement
    assert_places_add_up()
    judge(following)
    assert take_back_last(project=project, annotator=annotator) == following
    assert take_back_last(project=project, annotator=annotator) == lease
    assert take_back_last(project=project, annotator=annotator) is None


def test_a_skip_whose_place_another_has_taken_is_not_taken_back(project, annotator, bob, lease):
    skip_comparison(annotator=annotator, assignment_id=lease.pk)
    theirs = claim_comparison(project=project, annotator=bob)
    assert theirs.comparison == lease.comparison
    with pytest.raises(JudgementRefused, match="Somebody else"):
        take_back_last(project=project, annotator=annotator)
    assert_places_add_up()


def change(lease, by):
    answer = {"assignment_id": lease.pk, "key": uuid.uuid4(), "choice": "b"}
    return judgements.change_judgement(annotator=lease.annotator, **answer)


def withdraw(lease, by):
    return withdraw_judgement(judgement=lease.judgements.get(), by=by, why="A slip.")


def take_up_and_judge(lease, by):
    judgements.take_up_skipped(annotator=lease.annotator, assignment_id=lease.pk)
    judge(lease)
    Comparison.objects.update(judgements_required=2, free_places=1)


@pytest.mark.parametrize(
    ("answer", "meanwhile"),
    [(judge, change), (judge, withdraw), (skip, take_up_and_judge)],
    ids=["changed", "withdrawn", "judged"],
)
def test_undo_takes_back_nothing_that_has_changed_since_it_looked(project, lease, monkeypatch, answer, meanwhile):
    """Else a pair that is answered already would be leased to them, and come again for ever."""
    Project.objects.update(changeable_minutes=10)
    answer(lease)
    manager, lock = make_member(project, "manager"), judgements.lock_comparison

    def wait_for_lock(comparison_id: int) -> Comparison:  # another tab, or a manager, has it for a moment
        monkeypatch.setattr(judgements, "lock_comparison", lock)
        meanwhile(lease, manager)
        return lock(comparison_id)

    monkeypatch.setattr(judgements, "lock_comparison", wait_for_lock)
    with pytest.raises(JudgementRefused, match="just been changed"):
        take_back_last(project=project, annotator=lease.annotator)
