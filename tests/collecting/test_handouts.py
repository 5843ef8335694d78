"""Batches for named people, and more judgements where people disagree."""

import uuid

import pytest

from annotate.gold.known_answers import GoldRefused, mark_gold
from annotate.judging.judgements import record_judgement, take_back_last
from annotate.models import Comparison, Handout, Project
from annotate.queue.claims import claim_comparison
from annotate.queue.handouts import HandoutRefused, hand_out, handouts_of, release
from annotate.queue.no_work import explain_no_work
from tests.builders import make_comparison, make_member, make_project, make_prompt
from tests.collecting.leases import assert_places_add_up


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


def work(project, person, choice: str = "a") -> Comparison | None:
    assignment = claim_comparison(project=project, annotator=person)
    if assignment:
        record_judgement(annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice)
    return assignment and assignment.comparison


def test_a_batch_comes_first_for_its_people_and_to_nobody_else(project, annotator, bob, manager):
    pairs = [make_comparison(project, priority=-n) for n in range(4)]
    urgent = make_comparison(project, priority=9)
    hand_out(project=project, by=manager, name="Code", people=[bob], count=1, containing=pairs[2].prompt.last_message)
    hand_out(project=project, by=manager, name="More", people=[bob], count=1)
    assert set(Comparison.objects.exclude(handout=None)) == {pairs[2], urgent}
    assert [work(project, annotator) for _ in range(4)] == [pairs[0], pairs[1], pairs[3], None]
    assert "given to other annotators by name" in explain_no_work(project=project, annotator=annotator)
    assert [work(project, bob) for _ in range(3)] == [pairs[2], urgent, None]
    assert_places_add_up()


def test_released_it_belongs_to_everybody(project, annotator, bob, manager):
    pairs = [make_comparison(project) for _ in range(3)]
    handout = hand_out(project=project, by=manager, name="All", people=[bob], count=10)
    assert handout.size == 3 and claim_comparison(project=project, annotator=annotator) is None
    work(project, bob)
    release(handout=handout), release(handout=handout)
    assert [work(project, annotator) for _ in range(3)] == [*pairs[1:], None]
    (listed,) = handouts_of(project)
    assert listed.released_at and not Comparison.objects.exclude(handout=None).exists()


def test_what_is_on_a_screen_stays_there(project, annotator, bob, manager):
    make_comparison(project, judgements_required=2)
    shown = claim_comparison(project=project, annotator=annotator)
    hand_out(project=project, by=manager, name="All", people=[bob], count=1)
    assert claim_comparison(project=project, annotator=annotator) == shown
    record_judgement(annotator=annotator, assignment_id=shown.pk, key=uuid.uuid4(), choice="a")
    assert work(project, bob) == shown.comparison
    assert_places_add_up()


def test_who_and_what_cannot_be_handed_anything(project, annotator, viewer, stranger, manager):
    pair = make_comparison(project)
    for people in ([], [viewer], [annotator, stranger]):
        with pytest.raises(HandoutRefused):
            hand_out(project=project, by=manager, name="All", people=people, count=1)
    with pytest.raises(HandoutRefused, match="name"):
        hand_out(project=project, by=manager, name=" \0", people=[annotator], count=1)
    with pytest.raises(HandoutRefused, match="contains “nothing of the kind”"):
        hand_out(project=project, by=manager, name="All", people=[annotator], count=1, containing="nothing of the kind")
    assert not Handout.objects.exists()
    hand_out(project=project, by=manager, name="All", people=[annotator], count=1)
    with pytest.raises(GoldRefused, match="handed out"):
        mark_gold(comparison=pair, low=1, high=4, by=manager)


def test_handouts_of_another_project_do_not_mix_in(project, annotator, manager):
    other = make_project()
    other.memberships.create(user=annotator, role="annotator")
    make_comparison(other)
    hand_out(project=other, by=manager, name="There", people=[annotator], count=1)
    here = make_comparison(project)
    assert [work(project, annotator) for _ in range(2)] == [here, None]


# -- more judgements where people disagree -----------------------------------------------------------------


def state(pair) -> tuple[str, int, int]:
    pair.refresh_from_db()
    return pair.state, pair.judgements_required, pair.free_places


def test_one_more_is_asked_for_while_people_disagree_up_to_the_most(project):
    Project.objects.update(judgements_at_most=4)
    project.refresh_from_db()
    pair = make_comparison(project, judgements_required=2)
    people = [make_member(project, "annotator") for _ in range(5)]

    def give(person, first: bool) -> None:
        assignment = claim_comparison(project=project, annotator=person)
        record_judgement(
            annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice="ab"[assignment.swapped != (not first)]
        )

    give(people[0], True)
    assert state(pair) == ("open", 2, 1)
    give(people[1], False)
    assert state(pair) == ("open", 3, 1)
    assert_places_add_up()
    assert take_back_last(project=project, annotator=people[1])
    give(people[1], False)
    assert state(pair) == ("open", 3, 1)
    give(people[2], True)
    assert state(pair) == ("done", 3, 0)
    tied = make_comparison(project, make_prompt(project), judgements_required=2)
    for person, first in zip(people, (True, False), strict=False):
        give(person, first)
    assignment = claim_comparison(project=project, annotator=people[2])
    record_judgement(annotator=people[2], assignment_id=assignment.pk, key=uuid.uuid4(), choice="tie")
    assert state(tied) == ("open", 4, 1)
    assignment = claim_comparison(project=project, annotator=people[3])
    record_judgement(annotator=people[3], assignment_id=assignment.pk, key=uuid.uuid4(), choice="both_bad")
    assert state(tied) == ("done", 4, 0)
    assert claim_comparison(project=project, annotator=people[4]) is None
    assert_places_add_up()


def test_without_the_rule_what_is_divided_is_done(project, annotator, bob):
    pair = make_comparison(project, judgements_required=2)
    work(project, annotator, "tie"), work(project, bob, "both_bad")
    assert state(pair) == ("done", 2, 0)
