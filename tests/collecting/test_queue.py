"""Who gets which comparison, and how places come back."""

import re
import uuid
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.judging.judgements import JudgementRefused, record_judgement, take_back_last
from annotate.models import Assignment, Comparison, Membership
from annotate.models.comparison import Purpose
from annotate.queue import claims, lanes
from annotate.queue.claims import (
    claim_comparison,
    release_lapsed,
    release_leases,
    renew_lease,
    skip_comparison,
    supersede,
)
from annotate.queue.lanes import Lane
from annotate.queue.no_work import explain_no_work
from annotate.queue.pausing import pause_project
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt, make_version
from tests.collecting.leases import assert_places_add_up, run_out
from training.models import Generation


def judge(assignment, choice="a"):
    return record_judgement(annotator=assignment.annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice)


def state_of(comparison):
    return Comparison.objects.get(pk=comparison.pk).state


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


# -- what is handed out ------------------------------------------------------------------------------------


def test_a_claim_leases_and_takes_the_place(project, annotator):
    comparison = make_comparison(project)
    before = timezone.now()
    assignment = claim_comparison(project=project, annotator=annotator)
    assert assignment.comparison == comparison
    assert assignment.state == "leased"
    assert assignment.expires_at - before >= timedelta(minutes=project.lease_minutes)
    comparison.refresh_from_db()
    assert comparison.free_places == 0


def test_highest_priority_first_then_the_oldest(project, annotator):
    low, first_of_two, second_of_two = (make_comparison(project, priority=p) for p in (0.5, 2.0, 2.0))
    served = []
    while assignment := claim_comparison(project=project, annotator=annotator):
        served.append(assignment.comparison)
        judge(assignment)
    assert served == [first_of_two, second_of_two, low]


def test_a_reload_shows_the_same_pair_with_its_time_renewed(project, annotator):
    make_comparison(project), make_comparison(project)
    first = claim_comparison(project=project, annotator=annotator)
    Assignment.objects.update(expires_at=timezone.now() + timedelta(seconds=5))
    again = claim_comparison(project=project, annotator=annotator)
    assert again == first
    assert again.expires_at > timezone.now() + timedelta(minutes=1)
    assert Assignment.objects.count() == 1


def test_a_reload_shows_the_same_pair_after_its_time_if_nobody_needed_it(project, annotator):
    make_comparison(project, priority=1), make_comparison(project)
    first = claim_comparison(project=project, annotator=annotator)
    run_out(first)
    assert claim_comparison(project=project, annotator=annotator) == first
    assert_places_add_up()


def test_prefetching_holds_one_more_and_never_a_third(project, annotator):
    for _ in range(4):
        make_comparison(project)
    shown = claim_comparison(project=project, annotator=annotator)
    following = claim_comparison(project=project, annotator=annotator, beside=shown)
    assert following != shown
    assert claim_comparison(project=project, annotator=annotator, beside=shown) == following
    assert claim_comparison(project=project, annotator=annotator) == shown
    assert Assignment.objects.live().count() == claims.MAX_LEASES == 2
    judge(shown)
    assert claim_comparison(project=project, annotator=annotator) == following


def test_another_persons_lease_as_beside_wins_no_third(project, annotator, bob):
    for _ in range(4):
        make_comparison(project)
    bobs = claim_comparison(project=project, annotator=bob)
    first = claim_comparison(project=project, annotator=annotator)
    assert claim_comparison(project=project, annotator=annotator, beside=bobs) == first


def test_never_twice_to_one_person(project, annotator, bob):
    comparison = make_comparison(project, judgements_required=3)
    judge(claim_comparison(project=project, annotator=annotator))
    assert claim_comparison(project=project, annotator=annotator) is None
    skipped = claim_comparison(project=project, annotator=bob)
    skip_comparison(annotator=bob, assignment_id=skipped.pk)
    assert claim_comparison(project=project, annotator=bob) is None
    comparison.refresh_from_db()
    assert comparison.free_places == 2


def test_as_many_people_as_are_required(project):
    make_comparison(project, judgements_required=2)
    people = [make_member(project, "annotator") for _ in range(3)]
    served = [claim_comparison(project=project, annotator=person) for person in people]
    assert [bool(a) for a in served] == [True, True, False]


def test_only_members_who_may_judge_get_work(project, viewer, stranger, manager):
    make_comparison(project)
    assert claim_comparison(project=project, annotator=viewer) is None
    assert claim_comparison(project=project, annotator=stranger) is None
    assert claim_comparison(project=project, annotator=manager)


def test_work_of_other_projects_is_not_mixed_in(project, annotator):
    other = make_project()
    Membership.objects.create(project=other, user=annotator, role="annotator")
    make_comparison(other)
    theirs = claim_comparison(project=other, annotator=annotator)
    assert claim_comparison(project=project, annotator=annotator) is None
    mine = make_comparison(project)
    assert claim_comparison(project=project, annotator=annotator).comparison == mine
    assert claim_comparison(project=other, annotator=annotator) == theirs


def test_both_side_orders_occur(project, annotator):
    for _ in range(40):
        make_comparison(project)
    orders = []
    while assignment := claim_comparison(project=project, annotator=annotator):
        orders.append(assignment.swapped)
        judge(assignment)
    assert 5 <= sum(orders) <= 35  # a fair coin leaves this range once in a million times


@pytest.mark.parametrize("state", ["done", "retired"])
def test_only_open_comparisons_are_served(project, annotator, state):
    make_comparison(project, state=state)
    assert claim_comparison(project=project, annotator=annotator) is None


# -- how places come back ----------------------------------------------------------------------------------


def test_a_lapsed_lease_frees_its_place_for_the_next(project, annotator, bob):
    make_comparison(project)
    first = claim_comparison(project=project, annotator=annotator)
    assert claim_comparison(project=project, annotator=bob) is None
    run_out(first)
    assert claim_comparison(project=project, annotator=bob).comparison == first.comparison
    first.refresh_from_db()
    assert first.state == "expired"
    assert claim_comparison(project=project, annotator=annotator) is None
    assert_places_add_up()


def test_an_expired_assignment_is_leased_again_as_it_was(project, annotator):
    make_comparison(project)
    first = claim_comparison(project=project, annotator=annotator)
    Assignment.objects.update(swapped=not first.swapped)
    run_out(first)
    assert release_lapsed() == 1
    again = claim_comparison(project=project, annotator=annotator)
    assert (again.pk, again.swapped, again.state) == (first.pk, not first.swapped, "leased")
    assert_places_add_up()


def test_release_is_bounded_and_leaves_live_leases_alone(project, annotator):
    people = [make_member(project, "annotator") for _ in range(4)]
    make_comparison(project, judgements_required=4)
    leases = [claim_comparison(project=project, annotator=person) for person in people]
    run_out(*leases[:3])
    assert release_lapsed(limit=2) == 2
    assert_places_add_up()
    assert release_lapsed(limit=2) == 1
    assert release_lapsed() == 0
    assert_places_add_up()


def test_renewing(project, annotator, bob):
    make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    Assignment.objects.update(expires_at=timezone.now() + timedelta(seconds=5))
    assert renew_lease(assignment=lease)
    lease.refresh_from_db()
    assert lease.expires_at > timezone.now() + timedelta(minutes=1)
    run_out(lease)
    claim_comparison(project=project, annotator=bob)
    assert not renew_lease(assignment=lease)
    lease.refresh_from_db()
    assert lease.state == "expired"


def test_skipping_frees_the_place_once(project, annotator, bob):
    comparison = make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    for _ in range(2):
        skip_comparison(annotator=annotator, assignment_id=lease.pk, reason="no idea\0" + "x" * 300)
        comparison.refresh_from_db()
        assert comparison.free_places == 1
    lease.refresh_from_db()
    assert lease.state == "skipped"
    assert lease.skip_reason.startswith("no ideax")
    assert len(lease.skip_reason) == 200
    assert claim_comparison(project=project, annotator=annotator) is None
    assert claim_comparison(project=project, annotator=bob).comparison == comparison


def test_skipping_what_is_judged_or_not_ones_own_is_refused(project, annotator, bob, stranger):
    make_comparison(project, judgements_required=2)
    lease = claim_comparison(project=project, annotator=annotator)
    for person, assignment_id in ((bob, lease.pk), (stranger, lease.pk), (annotator, uuid.uuid4())):
        with pytest.raises(JudgementRefused) as refused:
            skip_comparison(annotator=person, assignment_id=assignment_id)
        assert refused.value.code == "not_yours"
    judge(lease)
    with pytest.raises(JudgementRefused) as refused:
        skip_comparison(annotator=annotator, assignment_id=lease.pk)
    assert refused.value.code == "judged"
    assert_places_add_up()


def test_releasing_all_that_somebody_holds(project, annotator):
    make_comparison(project), make_comparison(project)
    shown = claim_comparison(project=project, annotator=annotator)
    claim_comparison(project=project, annotator=annotator, beside=shown)
    assert release_leases(project=project, annotator=annotator) == 2
    assert not Assignment.objects.live().exists()
    assert_places_add_up()


# -- guards ------------------------------------------------------------------------------------------------


def test_the_database_refuses_overbooking(project):
    comparison = make_comparison(project)
    for places in (-1, 2):
        with pytest.raises(IntegrityError), transaction.atomic():
            Comparison.objects.filter(pk=comparison.pk).update(free_places=places)


@dataclass
class Seen:
    """A look into the queue that is out of date by now."""

    found: tuple[int, str, bool]

    def first(self, **_) -> tuple[int, str, bool]:
        return self.found


def test_an_answer_sent_during_the_claim_is_not_handed_out_again(project, annotator, monkeypatch):
    """Between the claim's look and its lock, the annotator's late answer arrives: the look is out of date."""
    comparison = make_comparison(project, judgements_required=2)
    judge(claim_comparison(project=project, annotator=annotator))
    monkeypatch.setattr(lanes, "first_of", lambda *_: Seen((comparison.pk, "train", True)))
    assert claim_comparison(project=project, annotator=annotator) is None
    assert Assignment.objects.get().state == "judged"
    assert_places_add_up()


def test_a_pair_looked_at_in_review_during_the_claim_is_not_handed_out(project, annotator, monkeypatch):
    comparison = make_comparison(project)
    Assignment.objects.create(
        comparison=comparison, annotator=annotator, swapped=False, state="seen", seen_at=timezone.now(), expires_at=timezone.now()
    )
    monkeypatch.setattr(lanes, "first_of", lambda *_: Seen((comparison.pk, "train", False)))
    assert claim_comparison(project=project, annotator=annotator) is None
    assert_places_add_up()


def test_a_place_taken_during_the_claim_is_not_taken_twice(project, annotator, monkeypatch):
    comparison = make_comparison(project, free_places=0)
    monkeypatch.setattr(lanes, "first_of", lambda *_: Seen((comparison.pk, "train", False)))
    assert claim_comparison(project=project, annotator=annotator) is None
    assert not Assignment.objects.exists()


# -- cost --------------------------------------------------------------------------------------------------


def test_a_claim_takes_the_same_queries_however_long_the_queue(project, annotator, bob):
    def queries_of_a_claim(person):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert claim_comparison(project=project, annotator=person)
        return len(queries)

    make_comparison(project, judgements_required=2)
    one = queries_of_a_claim(annotator)
    for _ in range(30):
        make_comparison(project, judgements_required=2)
    assert queries_of_a_claim(bob) == one


@pytest.mark.parametrize(
    ("lane", "index"),
    [
        (Lane(Purpose.TRAIN), "comparison_claimable"),
        (Lane(Purpose.EVALUATE), "comparison_claimable"),
        (Lane(Purpose.TRAIN, start=0.4), "comparison_claimable_shuffled"),
        (Lane(Purpose.GOLD, start=0.4), "comparison_claimable_shuffled"),
    ],
)
def test_a_claim_is_answered_by_an_index(project, annotator, lane, index):
    make_comparison(project)
    prompt, a, b = make_prompt(project), *(make_completion(make_prompt(project)) for _ in range(2))
    Comparison.objects.bulk_create(
        Comparison(
            project=project,
            prompt=prompt,
            first=a,
            second=b,
            judgements_required=1,
            free_places=1,
            priority=i % 7,
            purpose=purpose,
        )
        for i in range(3000)
        for purpose in Purpose
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as asked, transaction.atomic():
        list(lane.candidates(project=project, annotator=annotator))
    for look in (each["sql"] for each in asked if each["sql"].startswith("SELECT")):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' * (connection.vendor == 'sqlite')}{look}")
            plan = "\n".join(str(row) for row in cursor.fetchall())
        assert re.search(rf"\b{index}\b", plan), plan
        assert "sort" not in plan.lower() and "b-tree" not in plan.lower(), plan


# -- a promotion -------------------------------------------------------------------------------------------


def test_a_promotion_retires_what_others_wrote_and_a_rollback_brings_it_back(project, annotator):
    old, new = make_version(project), make_version(project)
    stale, fresh = make_comparison(project, version=old), make_comparison(project, version=new)
    assert supersede(project=project, version_id=new.pk) == (1, 0)
    assert (state_of(stale), state_of(fresh)) == ("retired", "open")
    assert supersede(project=project, version_id=new.pk) == (0, 0)
    assert claim_comparison(project=project, annotator=annotator).comparison == fresh
    release_leases(project=project, annotator=annotator)
    assert supersede(project=project, version_id=old.pk) == (1, 1)
    assert (state_of(stale), state_of(fresh)) == ("open", "retired")
    assert_places_add_up()


def test_a_promotion_leaves_work_in_hand_and_judged_in_part(project, annotator, bob):
    old, new = make_version(project), make_version(project)
    judged, leased = (make_comparison(project, version=old, judgements_required=2) for _ in range(2))
    judge(claim_comparison(project=project, annotator=annotator))
    claim_comparison(project=project, annotator=annotator)
    assert supersede(project=project, version_id=new.pk) == (0, 0)
    assert (state_of(judged), state_of(leased)) == ("open", "open")
    assert claim_comparison(project=project, annotator=bob).comparison == judged


def test_a_promotion_leaves_imports_evaluations_mixed_pairs_and_other_projects(project):
    old, new, elsewhere = make_version(project), make_version(project), make_project()
    prompt = make_prompt(project)
    kept = [
        make_comparison(project),
        make_comparison(project, version=old, purpose="evaluate"),
        make_comparison(project, prompt, first=make_completion(prompt, version=old), second=make_completion(prompt)),
        make_comparison(project, prompt, first=make_completion(prompt, version=old), second=make_completion(prompt, version=new)),
        make_comparison(elsewhere, version=make_version(elsewhere)),
    ]
    assert supersede(project=project, version_id=new.pk) == (0, 0)
    assert {state_of(c) for c in kept} == {"open"}


@pytest.mark.parametrize(("required", "state"), [(1, "done"), (2, "open")])
def test_a_late_answer_to_a_retired_comparison_counts(project, annotator, required, state):
    old, new = make_version(project), make_version(project)
    comparison = make_comparison(project, version=old, judgements_required=required)
    lease = claim_comparison(project=project, annotator=annotator)
    run_out(lease)
    release_lapsed()
    assert supersede(project=project, version_id=new.pk) == (1, 0)
    assert judge(lease).late
    assert state_of(comparison) == state
    assert_places_add_up()


# -- why there is no work ----------------------------------------------------------------------------------


def test_the_reasons_for_no_work(project, annotator, bob):
    def reason():
        assert claim_comparison(project=project, annotator=annotator) is None
        return explain_no_work(project=project, annotator=annotator)

    assert "no prompts yet" in reason()
    make_prompt(project)
    assert "generated yet" in reason()
    comparison = make_comparison(project)
    theirs = claim_comparison(project=project, annotator=bob)
    assert "with other annotators" in reason()
    assert reason().endswith("in 10 minutes at the earliest.")
    generation = Generation.objects.create(project=project, version=make_version(project))
    assert reason().endswith("at the earliest. New ones are on their way.")
    generation.delete()
    Assignment.objects.update(expires_at=timezone.now() + timedelta(seconds=20))
    assert "in a minute" in reason()
    judge(theirs)
    assert "has been judged" in reason()
    take_back_last(project=project, annotator=bob)
    skip_comparison(annotator=bob, assignment_id=theirs.pk)
    mine = claim_comparison(project=project, annotator=annotator)
    assert mine.comparison == comparison
    skip_comparison(annotator=annotator, assignment_id=mine.pk)
    assert "You have answered every open comparison" in reason()
    make_comparison(project)
    assert "Reload" in explain_no_work(project=project, annotator=annotator)
    release_leases(project=project, annotator=annotator)
    pause_project(project=project, by=bob, reason="The guidelines change.")
    assert "paused: “The guidelines change.”" in reason()
