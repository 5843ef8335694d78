"""Review: what comes into dispute, what a manager can do about it, and what the consensus makes of that."""

import threading
import uuid

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.consensus.triples import Chosen, settle
from annotate.data.undoing import undo_import
from annotate.judging.judgements import record_judgement, take_back_last
from annotate.models import Assignment, Decision, Dispute, Judgement, PreferenceImport
from annotate.models.judgement import Outcome
from annotate.models.review import Reason
from annotate.models.scale import Grades
from annotate.queue.claims import claim_comparison
from annotate.review.cases import list_waiting, next_waiting, open_case
from annotate.review.decisions import (
    ReviewRefused,
    ask_for_more,
    leave_as_it_is,
    settle_comparison,
    take_back_decision,
    withdraw_judgement,
)
from annotate.review.disputes import is_divided, mark_disputes, note_disputes
from tests.builders import make_comparison, make_member, make_project, make_version
from tests.collecting.judged import judge

FIRST, SECOND, TIE, BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD


@pytest.fixture
def crowd(project):
    return [make_member(project, "annotator") for _ in range(3)]


@pytest.fixture
def divided(project, crowd):
    """Two judgements were required, and they are opposite."""
    comparison = make_comparison(project, judgements_required=2)
    judge(comparison, crowd[0], FIRST)
    judge(comparison, crowd[1], SECOND)
    return comparison


def reasons(comparison) -> list[str]:
    return [reason for dispute in Dispute.objects.filter(pk=comparison.pk) for reason in dispute.reasons]


def settled(comparison, by, outcome=FIRST, strength=1, **given) -> Decision:
    given = {"why": "It answers the question.", "grades": Grades.TWO} | given
    return settle_comparison(comparison_id=comparison.pk, by=by, outcome=outcome, strength=strength, **given)


# -- what comes into dispute -------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcomes", "by_majority", "by_all"), [
    ([FIRST], False, False),
    ([FIRST, FIRST], False, False),
    ([FIRST, SECOND], True, True),
    ([FIRST, TIE], True, True),
    ([FIRST, FIRST, SECOND], False, True),
    ([FIRST, SECOND, TIE], True, True),
    ([FIRST, FIRST, SECOND, TIE], True, True),
])  # fmt: skip
def test_what_is_divided(outcomes, by_majority, by_all):
    assert (is_divided(outcomes, rule="majority"), is_divided(outcomes, rule="unanimous")) == (by_majority, by_all)


def test_people_who_disagree_bring_a_comparison_into_dispute_once_it_has_all_judgements(project, crowd):
    comparison = make_comparison(project, judgements_required=3)
    judge(comparison, crowd[0], FIRST), judge(comparison, crowd[1], SECOND)
    assert reasons(comparison) == []
    judge(comparison, crowd[2], TIE)
    assert reasons(comparison) == ["disagreement"]


def test_a_flag_does_at_once_through_the_way_annotators_take(project, annotator):
    project.flags = ["unsafe"]
    project.save()
    make_comparison(project, judgements_required=2)
    assignment = claim_comparison(project=project, annotator=annotator)
    record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a", flags=["unsafe"])
    assert reasons(assignment.comparison) == ["flagged"]
    take_back_last(project=project, annotator=annotator)
    assert reasons(assignment.comparison) == []


@pytest.mark.parametrize("purpose", ["gold", "evaluate"])
def test_only_training_comparisons_are_disputed(project, crowd, purpose):
    comparison = make_comparison(project, judgements_required=2, purpose=purpose)
    judge(comparison, crowd[0], FIRST, flags=["unsafe"]), judge(comparison, crowd[1], SECOND)
    assert reasons(comparison) == [] and open_case(project=project, comparison_id=comparison.pk) is None


def test_another_source_adds_its_reason_and_takes_it_away(project, crowd, divided):
    calm = make_comparison(project)
    judge(calm, crowd[0], FIRST)
    both = [divided.pk, calm.pk]
    mark_disputes(Reason.LOW_CONFIDENCE, of=both, where={calm.pk}, confidence={calm.pk: 0.55})
    assert (reasons(calm), calm.dispute.confidence, reasons(divided)) == (["low_confidence"], 0.55, ["disagreement"])
    mark_disputes(Reason.LOW_CONFIDENCE, of=both, where=set())
    assert (reasons(calm), reasons(divided)) == ([], ["disagreement"])


def test_a_reason_that_was_known_brings_nothing_back_that_was_handled(divided, manager):
    leave_as_it_is(comparison_id=divided.pk, by=manager)
    mark_disputes(Reason.LOW_CONFIDENCE, of=[divided.pk], where=set())
    assert not Dispute.objects.waiting().exists()
    mark_disputes(Reason.LOW_CONFIDENCE, of=[divided.pk], where={divided.pk})
    assert Dispute.objects.waiting(Reason.LOW_CONFIDENCE).exists()


# -- settling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "won"), [(FIRST, 0), (SECOND, 1)])
def test_a_settlement_wins_and_the_over_ruled_leave_the_triple_and_stay_in_the_record(project, manager, divided, outcome, won):
    assert settle(project=project).counts["disagreement"] == 1
    decision = settled(divided, manager, outcome, 3, grades=Grades.SIX)
    [triple] = settle(project=project).triples
    texts = [divided.first.text, divided.second.text]
    alike = divided.judgements.get(outcome=outcome)
    assert (triple.chosen, triple.rejected) == (texts[won], texts[1 - won])
    assert (triple.strength, triple.weight, triple.judgement_ids) == (3.0, 1.0, (alike.pk,))
    assert triple.settled_by == decision.pk and Judgement.objects.standing().count() == 2
    assert [entry.state for entry in open_case(project=project, comparison_id=divided.pk).entries].count("over-ruled") == 1


@pytest.mark.parametrize("outcome", [TIE, BAD])
def test_settled_for_neither_gives_no_triple(project, manager, divided, outcome):
    settled(divided, manager, outcome)
    settlement = settle(project=project)
    assert (settlement.triples, settlement.counts[str(outcome)]) == ([], 1)


def test_settled_against_everybody_even_when_nobody_is_left(project, manager, crowd):
    comparison = make_comparison(project)
    judgement = judge(comparison, crowd[0], FIRST, flags=["wrong language"])
    withdraw_judgement(judgement=judgement, by=manager, why="Meant the other one.")
    assert settle(project=project).counts["withdrawn"] == 1
    settled(comparison, manager, SECOND)
    settlement = settle(project=project)
    assert [(triple.chosen, triple.judgement_ids) for triple in settlement.triples] == [(comparison.second.text, ())]
    assert settlement.counts["withdrawn"] == 0


def test_a_settled_comparison_is_done_and_nobody_gets_it(project, manager, crowd):
    comparison = make_comparison(project, judgements_required=3)
    judge(comparison, crowd[0], FIRST, flags=["unsafe"])
    decision = settled(comparison, manager, BAD)
    comparison.refresh_from_db()
    assert (comparison.state, comparison.free_places) == ("done", 0)
    assert claim_comparison(project=project, annotator=crowd[1]) is None
    take_back_decision(decision=decision, by=manager)
    comparison.refresh_from_db()
    assert (comparison.state, comparison.free_places) == ("open", 2)
    assert Dispute.objects.waiting().filter(pk=comparison.pk).exists()


def test_taken_back_it_is_as_before_and_the_record_keeps_it(project, manager, owner, divided):
    decision = settled(divided, manager)
    take_back_decision(decision=decision, by=owner)
    decision.refresh_from_db()
    assert (decision.taken_back_by, settle(project=project).triples) == (owner, [])
    assert Dispute.objects.waiting("disagreement").count() == 1
    with pytest.raises(ReviewRefused, match="olivia has taken it back already"):
        take_back_decision(decision=decision, by=manager)
    settled(divided, owner, SECOND)
    assert Decision.objects.count() == 2 and len(settle(project=project).triples) == 1


def test_the_second_of_two_managers_is_told_what_the_first_decided(manager, owner, divided):
    settled(divided, manager, FIRST, why="B invents a source.")
    with pytest.raises(ReviewRefused, match=r"Somebody was quicker. marek settled it: A is better \(“B invents a source.”\)"):
        settled(divided, owner, SECOND)
    with pytest.raises(ReviewRefused, match="marek settled it"):
        ask_for_more(comparison_id=divided.pk, by=owner, more=1)
    assert Decision.objects.get().outcome == FIRST


def test_who_has_seen_the_others_decision_may_go_on(manager, owner, divided):
    seen = ask_for_more(comparison_id=divided.pk, by=manager, more=1)
    with pytest.raises(ReviewRefused, match="marek sent it for 1 more"):
        settled(divided, owner)
    assert settled(divided, owner, seen=seen.pk).by == owner


def test_sent_twice_it_is_one_settlement(manager, divided):
    assert settled(divided, manager) == settled(divided, manager)
    with pytest.raises(ReviewRefused, match="settled already"):
        settled(divided, manager, SECOND)


@pytest.mark.django_db(transaction=True)
def test_two_managers_at_once(project, manager, owner, divided):
    told: list[object] = []

    def decide(by, outcome):
        try:
            told.append(settled(divided, by, outcome))
        except ReviewRefused as refusal:
            told.append(str(refusal))
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=each) for each in ((manager, FIRST), (owner, SECOND))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decision = Decision.objects.get()
    refused = next(each for each in told if isinstance(each, str))
    assert decision in told and "Somebody was quicker" in refused and decision.by.username in refused


def test_the_database_holds_one_settlement_per_comparison(manager, divided):
    settled(divided, manager)
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.create(comparison=divided, kind="settled", outcome="tie", by=manager)


@pytest.mark.parametrize(("given", "said"), [
    ({"why": " \0 "}, "Say why"), ({"strength": 2}, "1 to 1"), ({"strength": 0}, "1 to 1"), ({"why": "x" * 2001}, "under 2,000"),
])  # fmt: skip
def test_what_a_settlement_is_refused_for(manager, divided, given, said):
    with pytest.raises(ReviewRefused, match=said):
        settled(divided, manager, **given)
    assert not Decision.objects.exists()


# -- more judgements, withdrawing, leaving -----------------------------------------------------------------


def test_sent_for_more_it_is_handed_out_again_and_comes_back_if_they_do_not_agree(project, manager, crowd, divided):
    ask_for_more(comparison_id=divided.pk, by=manager, more=2)
    divided.refresh_from_db()
    assert (divided.state, divided.free_places, divided.judgements_required) == ("open", 2, 4)
    assert not Dispute.objects.waiting().exists()
    judge(divided, crowd[2], FIRST)
    judge(divided, make_member(project, "annotator"), SECOND)
    assert Dispute.objects.waiting("disagreement").count() == 1


def test_sent_for_more_it_stays_away_if_they_agree(project, manager, crowd, divided):
    ask_for_more(comparison_id=divided.pk, by=manager, more=1)
    judge(divided, crowd[2], FIRST)
    assert not Dispute.objects.exists() and len(settle(project=project).triples) == 1


@pytest.mark.parametrize("more", [0, -1, 11])
def test_more_has_limits(manager, divided, more):
    with pytest.raises(ReviewRefused, match="1 to 10"):
        ask_for_more(comparison_id=divided.pk, by=manager, more=more)


def test_a_withdrawn_judgement_frees_its_place_for_somebody_else(project, manager, crowd, divided):
    judgement = divided.judgements.get(annotator=crowd[1])
    decision = withdraw_judgement(judgement=judgement, by=manager, why="Did not read it.")
    divided.refresh_from_db()
    assert (divided.free_places, divided.state, reasons(divided)) == (1, "open", [])
    assert claim_comparison(project=project, annotator=crowd[1]) is None
    assert claim_comparison(project=project, annotator=crowd[2]).comparison == divided
    with pytest.raises(ReviewRefused, match="withdrawn already"):
        withdraw_judgement(judgement=judgement, by=manager, why="Again.")
    take_back_decision(decision=decision, by=manager)
    assert reasons(divided) == ["disagreement"] and Judgement.objects.standing().count() == 2


def test_left_as_it_is_until_somebody_judges_again(project, manager, crowd, divided):
    decision = leave_as_it_is(comparison_id=divided.pk, by=manager)
    assert not Dispute.objects.waiting().exists() and settle(project=project).counts["disagreement"] == 1
    take_back_decision(decision=decision, by=manager)
    assert Dispute.objects.waiting().exists()
    leave_as_it_is(comparison_id=divided.pk, by=manager)
    judge(divided, crowd[2], TIE)
    assert Dispute.objects.waiting().exists()


def test_an_import_with_decisions_can_be_undone(project, manager, crowd):
    batch = PreferenceImport.objects.create(project=project, number=1, file_name="x", format="trl")
    comparison = make_comparison(project, batch=batch)
    judgement = judge(comparison, crowd[0], FIRST, batch=batch)
    take_back_decision(decision=withdraw_judgement(judgement=judgement, by=manager, why="No."), by=manager)
    undo_import(batch=batch)
    judgement.refresh_from_db()
    assert judgement.withdrawn_at


# -- the pages ---------------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(client, manager):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


def at(comparison, query="") -> str:
    return reverse("review_case", args=[comparison.project.slug, comparison.pk]) + query


def test_the_queue_is_filtered_and_paged(project, crowd, monkeypatch):
    monkeypatch.setattr("annotate.review.cases.PAGE", 2)
    comparisons = [make_comparison(project, judgements_required=2) for _ in range(3)]
    for comparison in comparisons:
        judge(comparison, crowd[0], FIRST), judge(comparison, crowd[1], SECOND)
    flagged = make_comparison(project)
    judge(flagged, crowd[0], FIRST, flags=["unsafe"])
    page = list_waiting(project=project)
    assert ([row.dispute.pk for row in page.rows], page.following) == ([comparisons[0].pk, comparisons[1].pk], comparisons[1].pk)
    rest = list_waiting(project=project, after=page.following)
    assert ([row.dispute.pk for row in rest.rows], rest.following) == ([comparisons[2].pk, flagged.pk], None)
    assert [row.dispute.pk for row in list_waiting(project=project, reason="flagged").rows] == [flagged.pk]
    assert sorted(page.rows[0].said) == [("A is better", "a", 1), ("B is better", "b", 1)]
    assert next_waiting(project=project, after=comparisons[2].pk, reason="disagreement") == comparisons[0].pk


def test_every_judgement_is_shown_with_all_that_was_said(signed_in, project, crowd):
    comparison = make_comparison(project, judgements_required=2)
    judge(comparison, crowd[0], FIRST, rationale="A <b>cites</b>.", seconds=12.5, flags=["unsafe"])
    judge(comparison, crowd[1], SECOND, grades=6, strength=3, swapped=True, rationale="B is short.")
    page = signed_in.get(at(comparison)).content.decode()
    for said in ("A &lt;b&gt;cites&lt;/b&gt;.", "12.5 s", "unsafe", "B significantly better", "B is short.", crowd[0].username):
        assert said in page, said


def test_settling_goes_on_to_the_next(signed_in, project, crowd, divided):
    other = make_comparison(project, judgements_required=2)
    judge(other, crowd[0], TIE), judge(other, crowd[1], SECOND)
    query = "?reason=disagreement"
    answer = signed_in.post(at(divided, query), {"decide": "settle", "choice": "b", "why": "Right.", "seen": 0})
    assert (answer.status_code, answer.url) == (302, at(other, query))
    answer = signed_in.post(at(other, query), {"decide": "more", "more": 2, "seen": 0})
    assert answer.url == reverse("review", args=[project.slug])
    shown = signed_in.get(answer.url + "?decided").content.decode()
    assert "marek settled it: B is better (“Right.”)." in shown and "marek sent it for 2 more." in shown


SETTLE = {"decide": "settle", "choice": "a", "why": "x"}
BAD_INPUT = [
    ({}, "decide"), ({"decide": "settle"}, "choice"), (SETTLE | {"choice": "zzz"}, "choice"), (SETTLE | {"choice": "a4"}, None),
    ({"decide": "more"}, "more"), ({"decide": "more", "more": "x"}, "more"), ({"decide": "more", "more": "99"}, "more"),
    (SETTLE | {"why": "y" * 3000}, "why"), (SETTLE | {"seen": "x"}, "seen"), (SETTLE | {"why": "a\0b"}, "why"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "field"), BAD_INPUT)
def test_bad_input_is_told_at_its_field_and_keeps_the_text(signed_in, divided, sent, field):
    answer = signed_in.post(at(divided), {"why": "Kept as typed."} | sent)
    assert answer.status_code == 422 and not Decision.objects.exists()
    assert (field in answer.context["form"].errors) if field else answer.context["form"].non_field_errors()
    if "why" not in sent:
        assert "Kept as typed." in answer.content.decode()


def test_the_second_manager_reads_it_on_the_page_and_keeps_the_text(signed_in, owner, divided):
    settled(divided, owner, SECOND, why="The first is wrong.")
    answer = signed_in.post(at(divided), {"decide": "settle", "choice": "a", "why": "I think A.", "seen": 0})
    page = answer.content.decode()
    assert "You had written: “I think A.”" in page
    assert answer.status_code == 409 and "olivia settled it: B is better (“The first is wrong.”)" in page


def test_withdrawing_and_taking_back_by_the_page(signed_in, project, divided):
    judgement = divided.judgements.first()
    address = reverse("review_withdraw", args=[project.slug, divided.pk, judgement.pk])
    assert signed_in.post(address, {"why": ""}).status_code == 422
    assert signed_in.post(address, {"why": "Too fast."}).url == at(divided)
    assert "withdrawn by marek" in signed_in.get(at(divided)).content.decode()
    assert signed_in.post(address, {"why": "Too fast."}).status_code == 409
    decision = Decision.objects.get()
    signed_in.post(reverse("review_take_back", args=[project.slug, divided.pk, decision.pk]))
    judgement.refresh_from_db()
    assert judgement.withdrawn_at is None


def test_ids_of_other_projects_are_not_there(signed_in, project, divided):
    other = make_project()
    theirs = make_comparison(other)
    judgement = judge(theirs, make_member(other, "annotator"), FIRST)
    mine = reverse("review_case", args=[project.slug, theirs.pk])
    assert signed_in.get(mine).status_code == 404
    assert (
        signed_in.post(reverse("review_withdraw", args=[project.slug, divided.pk, judgement.pk]), {"why": "x"}).status_code == 404
    )
    assert signed_in.get(at(make_comparison(project))).status_code == 404  # nobody has judged it


def test_no_model_is_named(signed_in, project, crowd):
    comparison = make_comparison(project, judgements_required=1, version=make_version(project, name="zyxwv"))
    judge(comparison, crowd[0], FIRST, flags=["unsafe"])
    for address in (reverse("review", args=[project.slug]), at(comparison)):
        assert "zyxwv" not in signed_in.get(address).content.decode()


def test_the_same_number_of_queries_for_one_as_for_thirty(signed_in, project, crowd, divided):
    def queries(address) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert signed_in.get(address).status_code == 200
        return len(captured)

    addresses = [reverse("review", args=[project.slug]), reverse("review", args=[project.slug]) + "?decided", at(divided)]
    leave_as_it_is(comparison_id=divided.pk, by=make_member(project, "manager"))
    Dispute.objects.update(handled_at=None)
    another = make_comparison(project, judgements_required=2)
    judge(another, crowd[0], FIRST), judge(another, crowd[1], SECOND)
    queries(at(divided))  # the first look is written down
    one = [queries(address) for address in addresses]
    for number in range(30):
        comparison = make_comparison(project, judgements_required=2)
        judge(comparison, crowd[0], FIRST), judge(comparison, crowd[1], SECOND)
        if number % 2:
            leave_as_it_is(comparison_id=comparison.pk, by=make_member(project, "manager"))
        judge(divided, make_member(project, "annotator"), FIRST)
    Dispute.objects.get_or_create(comparison=divided, project=project, defaults={"disagreement": True})
    assert [queries(address) for address in addresses] == one


def test_the_counts_stop_at_a_thousand(signed_in, project, divided, monkeypatch):
    monkeypatch.setattr("annotate.review.cases.COUNTED", 0)
    monkeypatch.setattr("annotate.views.review.COUNTED", 0)
    assert "0+" in signed_in.get(reverse("review", args=[project.slug])).content.decode()


def test_noting_the_same_again_changes_nothing(project, crowd, divided):
    before = list(Dispute.objects.values())
    note_disputes([divided.pk])
    assert list(Dispute.objects.values()) == before and Assignment.objects.count() == 2


def test_a_settlement_stands_whoever_is_left_out_of_a_dataset(project, manager, divided):
    settled(divided, manager, SECOND)
    [triple] = settle(project=project, chosen=Chosen(votes=~Q(pk__in=divided.judgements.values("pk")))).triples
    assert (triple.chosen, triple.judgement_ids) == (divided.second.text, ())
