"""Known answers: marked, handed out at their rate, checked, told; and never a triple."""

import uuid

import pytest

from annotate.consensus.triples import settle
from annotate.gold.known_answers import (
    GoldRefused,
    accuracy_of,
    expected_in_words,
    feedback_on,
    is_right,
    mark_gold,
    unmark_gold,
)
from annotate.gold.lists import list_pairs
from annotate.judging.judgements import JudgementRefused, change_judgement, record_judgement, take_back_last
from annotate.models import Assignment, Comparison, GoldAnswer, Judgement, Project
from annotate.models.scale import Grades
from annotate.quality.figures import Share, report_on
from annotate.queue.claims import claim_comparison, skip_comparison
from annotate.queue.places import recount_places
from tests.builders import make_comparison, make_member
from tests.collecting.leases import assert_places_add_up


@pytest.fixture
def gold_project(project):
    """Only gold is drawn."""
    Project.objects.update(gold_share=1, evaluation_share=0)
    project.refresh_from_db()
    return project


def judge(assignment: Assignment, choice: str, strength: int | None = None) -> Judgement:
    return record_judgement(
        annotator=assignment.annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice, strength=strength
    )


def answer(project, person, better: str) -> Judgement:
    """Claims and answers in stored order, whatever the sides."""
    assignment = claim_comparison(project=project, annotator=person)
    side = {"first": "ab", "second": "ba"}[better][assignment.swapped]
    return judge(assignment, side, 1 if assignment.grades > 2 else None)


@pytest.mark.parametrize(
    ("low", "high", "both_bad", "right"),
    [
        (1, 4, False, {"first 1", "first 2", "first 3"}),
        (3, 4, False, {"first 2", "first 3"}),
        (4, 4, False, {"first 3"}),
        (-2, 0, False, {"tie", "second 1"}),
        (-4, -1, True, {"second 1", "second 2", "second 3", "both_bad"}),
        (None, None, True, {"both_bad"}),
        (0, 0, False, {"tie"}),
    ],
)
def test_what_is_right_on_six_grades(low, high, both_bad, right):
    accepted = GoldAnswer(low=low, high=high, accepts_both_bad=both_bad)
    given = [(f"{side} {strength}", side, strength) for side in ("first", "second") for strength in (1, 2, 3)]
    given += [("tie", "tie", 0), ("both_bad", "both_bad", 0)]
    assert {name for name, side, n in given if is_right(accepted, outcome=side, strength=n, grades=6)} == right


@pytest.mark.parametrize(("low", "high"), [(1, 4), (3, 4), (4, 4), (1, 1), (2, 3)])
def test_on_two_grades_the_side_is_what_counts(low, high):
    accepted = GoldAnswer(low=low, high=high)
    assert is_right(accepted, outcome="first", strength=1, grades=2)
    assert not is_right(accepted, outcome="second", strength=1, grades=2)
    assert not is_right(accepted, outcome="tie", strength=0, grades=2)


def test_on_four_grades_a_grade_stands_for_two():
    better = GoldAnswer(low=3, high=3)
    assert is_right(better, outcome="first", strength=2, grades=4) and not is_right(better, outcome="first", strength=1, grades=4)
    unsure = GoldAnswer(low=1, high=1)
    assert is_right(unsure, outcome="first", strength=1, grades=4) and is_right(unsure, outcome="first", strength=1, grades=8)
    assert not is_right(unsure, outcome="first", strength=2, grades=8)


@pytest.mark.parametrize(
    ("low", "high", "both_bad", "swapped", "words"),
    [
        (1, 4, False, False, "A significantly better to A slightly better"),
        (1, 4, False, True, "B slightly better to B significantly better"),
        (3, 4, False, False, "A significantly better or A better"),
        (-2, 0, True, False, "Tie or B slightly better, or both bad"),
        (-2, 0, False, True, "A slightly better or Tie"),
        (0, 0, False, False, "Tie"),
        (None, None, True, True, "Both bad"),
    ],
)
def test_expected_in_words(low, high, both_bad, swapped, words):
    accepted = GoldAnswer(low=low, high=high, accepts_both_bad=both_bad)
    assert expected_in_words(accepted, grades=Grades.SIX, swapped=swapped) == words


@pytest.mark.parametrize(("low", "high", "words"), [(4, 4, "A better"), (1, 4, "A better"), (-1, 0, "Tie or B better")])
def test_expected_in_the_words_of_two_grades(low, high, words):
    assert expected_in_words(GoldAnswer(low=low, high=high), grades=Grades.TWO) == words


def test_gold_goes_to_everybody_once_and_is_never_a_triple(gold_project, manager):
    comparison = make_comparison(gold_project)
    mark_gold(comparison=comparison, low=1, high=4, by=manager, reason="It answers.")
    people = [make_member(gold_project, "annotator") for _ in range(4)]
    for person in people[:3]:
        answer(gold_project, person, "first")
    answer(gold_project, people[3], "second")
    assert claim_comparison(project=gold_project, annotator=people[0]) is None
    assert settle(project=gold_project).triples == []
    assert {who: (share.count, share.of) for who, share in accuracy_of(gold_project).items()} == {
        **{person.pk: (1, 1) for person in people[:3]}, people[3].pk: (0, 1),
    }  # fmt: skip
    assert_places_add_up()


def test_unmarked_it_goes_on_as_before(gold_project, annotator, manager):
    """The judgements it got as gold stay, take no place and make no triple; who answered then is not asked again."""
    comparison = make_comparison(gold_project, judgements_required=2)
    bob = make_member(gold_project, "annotator", "bob")
    before = answer(gold_project, bob, "first")
    mark_gold(comparison=comparison, low=1, high=4, by=manager)
    as_gold = answer(gold_project, annotator, "second")
    assert accuracy_of(gold_project) == {annotator.pk: Share(0, 1)}, "who judged it before it was gold is not checked by it"
    unmark_gold(comparison=comparison)
    comparison.refresh_from_db()
    assert (comparison.purpose, comparison.state, comparison.free_places) == ("train", "open", 1)
    assert accuracy_of(gold_project) == {} and Judgement.objects.standing().count() == 2
    assert claim_comparison(project=gold_project, annotator=annotator) is None
    after = answer(gold_project, make_member(gold_project, "annotator"), "first")
    (triple,) = settle(project=gold_project).triples
    assert set(triple.judgement_ids) == {before.pk, after.pk} and as_gold.pk not in triple.judgement_ids
    assert_places_add_up()


def test_what_was_handed_out_before_it_was_marked_is_no_gold(gold_project, annotator, manager):
    comparison = make_comparison(gold_project)
    lease = claim_comparison(project=gold_project, annotator=annotator)
    mark_gold(comparison=comparison, low=1, high=4, by=manager)
    judge(lease, "a")
    assert accuracy_of(gold_project) == {}
    unmark_gold(comparison=comparison)
    assert Comparison.objects.get().state == "done" and len(settle(project=gold_project).triples) == 1


def test_marking_again_changes_what_is_accepted(gold_project, annotator, manager):
    comparison = make_comparison(gold_project)
    mark_gold(comparison=comparison, low=1, high=4, by=manager)
    answer(gold_project, annotator, "second")
    mark_gold(comparison=comparison, low=-4, high=-1, by=manager, reason="x\0")
    assert accuracy_of(gold_project) == {annotator.pk: Share(1, 1)}
    assert GoldAnswer.objects.get().reason == "x"


@pytest.mark.parametrize(
    ("low", "high", "both_bad"), [(None, None, False), (2, 1, False), (1, None, False), (-5, 1, False), (0, 5, False)]
)
def test_what_accepts_nothing_is_refused(project, manager, low, high, both_bad):
    comparison = make_comparison(project)
    with pytest.raises(GoldRefused):
        mark_gold(comparison=comparison, low=low, high=high, accepts_both_bad=both_bad, by=manager)
    assert Comparison.objects.get().purpose == "train"


def test_a_pair_of_a_blind_evaluation_is_no_gold(project, manager):
    with pytest.raises(GoldRefused, match="blind evaluation"):
        mark_gold(comparison=make_comparison(project, purpose="evaluate"), low=1, high=4, by=manager)


def test_suggested_are_those_that_all_agree_on(project, manager):
    pairs = [make_comparison(project, judgements_required=2) for _ in range(3)]
    people = [make_member(project, "annotator") for _ in range(2)]
    for outcomes in (("first", "first"), ("first", "second")):
        for person, outcome in zip(people, outcomes, strict=True):
            answer(project, person, outcome)
    assert [row.comparison for row in list_pairs(project=project, show="suggested").rows] == [pairs[0]]
    mark_gold(comparison=pairs[0], low=1, high=4, by=manager)
    assert list_pairs(project=project, show="suggested").rows == []


# -- feedback ----------------------------------------------------------------------------------------------


def test_feedback_is_given_where_the_project_wants_it(client, gold_project, annotator, manager):
    mark_gold(comparison=make_comparison(gold_project), low=1, high=4, by=manager, reason="The <first> is complete.")
    assignment = claim_comparison(project=gold_project, annotator=annotator)
    wrong = "a" if assignment.swapped else "b"
    client.force_login(annotator)
    sent = {"assignment": assignment.pk, "key": uuid.uuid4(), "choice": wrong}
    url = f"/projects/{gold_project.slug}/compare/judge/"
    assert "feedback" not in client.post(url, sent, HTTP_ACCEPT="application/json").json()
    Project.objects.update(gold_feedback=True)
    told = client.post(url, sent, HTTP_ACCEPT="application/json").json()["feedback"]
    side = "B" if assignment.swapped else "A"
    assert "Expected was another answer" in told and f"Expected: {side} better." in told
    assert "The &lt;first&gt; is complete." in told
    page = client.post(url, sent, follow=True).content.decode()
    assert "The &lt;first&gt; is complete." in page and "<b>Expected was another answer.</b>" in page


def test_after_feedback_the_answer_stands(gold_project, annotator, manager):
    mark_gold(comparison=make_comparison(gold_project), low=1, high=4, by=manager)
    answer(gold_project, annotator, "second")
    assert take_back_last(project=gold_project, annotator=annotator)
    judgement = answer(gold_project, annotator, "second")
    Project.objects.update(gold_feedback=True)
    gold_project.refresh_from_db()
    with pytest.raises(JudgementRefused, match="answer stands"):
        take_back_last(project=gold_project, annotator=annotator)
    with pytest.raises(JudgementRefused, match="answer stands"):
        change_judgement(annotator=annotator, assignment_id=judgement.assignment_id, key=uuid.uuid4(), choice="tie")
    assert feedback_on(Judgement.objects.get(pk=judgement.pk))["right"] is False


def test_training_pairs_get_no_feedback(project, annotator):
    Project.objects.update(gold_feedback=True)
    make_comparison(project)
    assert feedback_on(answer(project, annotator, "first")) is None


def test_skipping_gold_frees_nothing_and_takes_nothing(gold_project, annotator, manager):
    mark_gold(comparison=make_comparison(gold_project), low=1, high=4, by=manager)
    lease = claim_comparison(project=gold_project, annotator=annotator)
    skip_comparison(annotator=annotator, assignment_id=lease.pk)
    assert claim_comparison(project=gold_project, annotator=annotator) is None
    assert claim_comparison(project=gold_project, annotator=manager)
    assert_places_add_up()


def test_the_quality_page_and_its_file_tell_who_is_right_on_gold(client, gold_project, annotator, manager):
    """And gold is no measure of whether people agree."""
    pair = make_comparison(gold_project)
    mark_gold(comparison=pair, low=1, high=4, by=manager)
    answer(gold_project, annotator, "first")
    answer(gold_project, make_member(gold_project, "annotator", "bob"), "second")
    report = report_on(gold_project)
    assert {person.name: (person.gold.count, person.gold.of) for person in report.people} == {"anna": (1, 1), "bob": (0, 1)}
    assert report.units == 0 and report.matrix == {}
    client.force_login(manager)
    assert "Right on gold" in client.get("/projects/taste/quality/").content.decode()
    head, anna, bob = client.get("/projects/taste/quality/people.csv").content.decode().splitlines()
    at = head.split(",").index("gold")
    assert anna.split(",")[at : at + 2] == ["1", "1"] and bob.split(",")[at : at + 2] == ["0", "1"]
    assert anna.split(",")[at + 2].startswith("0.2065")


def test_nothing_tells_gold_from_any_other_pair(client, gold_project, annotator, manager):
    """The page, the fragment and the answer to a judgement are the same, but for names that chance makes."""
    pair = make_comparison(gold_project)
    client.force_login(annotator)
    seen = []
    for marked in (False, True):
        Judgement.objects.all().delete(), Assignment.objects.all().delete()
        recount_places([pair.pk])
        if marked:
            mark_gold(comparison=pair, low=1, high=4, by=manager, reason="Because.")
        page = client.get("/projects/taste/compare/").content.decode()
        Assignment.objects.update(swapped=False)
        assignment = Assignment.objects.get()
        page = client.get("/projects/taste/compare/").content.decode()
        sent = {"assignment": assignment.pk, "key": uuid.uuid4(), "choice": "b"}
        answered = client.post("/projects/taste/compare/judge/", sent, HTTP_ACCEPT="application/json").json()
        seen.append((set(answered), len(page), "gold" in page.lower(), assignment.is_gold))
    assert seen[0][:3] == seen[1][:3] and [gold for *_, gold in seen] == [False, True] and not seen[0][2]
