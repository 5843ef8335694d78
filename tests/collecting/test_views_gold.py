"""The gold pages and the batches, as managers use them."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.gold.known_answers import mark_gold
from annotate.judging.judgements import record_judgement
from annotate.models import Comparison, GoldAnswer, Handout, Membership, Project
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_member, make_project, make_prompt

GOLD, BATCHES = "/projects/taste/gold/", "/projects/taste/batches/"


@pytest.fixture
def signed_in(client, manager):
    client.force_login(manager)
    return client


def text_of(answer) -> str:
    return answer.content.decode()


def judge_all(project, choice: str = "a") -> None:
    for person in (make_member(project, "annotator") for _ in range(2)):
        while assignment := claim_comparison(project=project, annotator=person):
            side = "ab"[assignment.swapped] if choice == "a" else choice
            record_judgement(annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice=side)


def test_a_suggestion_becomes_gold_and_is_gold_no_more(signed_in, project):
    pair = make_comparison(project, make_prompt(project, text="Why is the sky blue?"), judgements_required=2)
    assert "No gold yet" in text_of(signed_in.get(GOLD))
    assert "Nothing to suggest yet" in text_of(signed_in.get(GOLD, {"show": "suggested"}))
    judge_all(project)
    page = text_of(signed_in.get(GOLD, {"show": "suggested"}))
    assert "Why is the sky blue?" in page and "2 people" in page
    assert "2 × A is better" in text_of(signed_in.get(f"{GOLD}{pair.pk}/"))
    sent = {"first": "a1", "last": "tie", "reason": "It says <why>."}
    assert "Right: A better or Tie." in text_of(signed_in.post(f"{GOLD}{pair.pk}/", sent, follow=True))
    known = GoldAnswer.objects.get()
    assert (known.low, known.high, known.by.username) == (0, 4, "marek")
    page = text_of(signed_in.get(f"{GOLD}{pair.pk}/"))
    assert "It says &lt;why&gt;." in page and '<option value="tie" selected>' in page and '<option value="a1" selected>' in page
    assert "gold no more" in text_of(signed_in.post(f"{GOLD}{pair.pk}/unmark/", follow=True))
    assert Comparison.objects.get(pk=pair.pk).purpose == "train"


def test_how_much_will_be_gold_is_said_in_percent(signed_in, project):
    Project.objects.update(gold_share=0.05)
    assert "5 % of what is handed out will then be gold" in text_of(signed_in.get(GOLD))


@pytest.mark.parametrize(
    ("sent", "low", "high"),
    [({"first": "a3"}, 4, 4), ({"first": "b1", "last": "a2"}, -2, 3), ({"accepts_both_bad": "on"}, None, None)],
)
def test_the_range_that_is_chosen_is_stored(signed_in, project, sent, low, high):
    Project.objects.update(grades=6)
    pair = make_comparison(project)
    assert signed_in.post(f"{GOLD}{pair.pk}/", sent).status_code == 302
    known = GoldAnswer.objects.get()
    assert (known.low, known.high, known.accepts_both_bad) == (low, high, "accepts_both_bad" in sent)


@pytest.mark.parametrize("sent", [{}, {"first": "a9"}, {"first": "tie", "reason": "x" * 2001}, {"last": "tie"}])
def test_what_is_wrong_comes_back_with_what_was_typed(signed_in, project, sent):
    pair = make_comparison(project)
    answer = signed_in.post(f"{GOLD}{pair.pk}/", {"reason": "Because."} | sent)
    if sent == {"last": "tie"}:  # the end of a range without its start is no range
        assert answer.status_code == 422
    assert answer.status_code == 422 and "field-error" in text_of(answer)
    assert ("x" * 2001 if "reason" in sent else "Because.") in text_of(answer)
    assert Comparison.objects.get().purpose == "train"


def test_pairs_of_evaluations_and_other_projects_are_not_there(signed_in, project):
    evaluated, elsewhere = make_comparison(project, purpose="evaluate"), make_comparison(make_project())
    for pair in (evaluated, elsewhere):
        assert signed_in.get(f"{GOLD}{pair.pk}/").status_code == 404
        assert signed_in.post(f"{GOLD}{pair.pk}/unmark/").status_code == 404
    assert "No pairs yet" in text_of(signed_in.get(GOLD, {"show": "all"}))


def test_searching(signed_in, project):
    make_comparison(project, make_prompt(project, text='Der Bär sagt "hallo"'))
    make_comparison(project, make_prompt(project, text="Nothing of interest"))
    for words in ("bär", "Bär sagt", '"hallo"', "BÄR") if connection.vendor == "postgresql" else ("Bär sagt", '"hallo"', "SAGT"):
        page = text_of(signed_in.get(GOLD, {"show": "all", "q": words}))
        assert "Der Bär" in page and "of interest" not in page, words
    for words in ("zebra", "100%", "\0", "x" * 300):
        assert signed_in.get(GOLD, {"show": "all", "q": words}).status_code == 200
    assert "No prompt here contains “zebra”" in text_of(signed_in.get(GOLD, {"show": "all", "q": "zebra"}))


@pytest.mark.parametrize("show", ["gold", "suggested", "all", "people"])
def test_the_lists_take_the_same_queries_for_one_row_and_for_forty(signed_in, project, manager, show):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert signed_in.get(GOLD, {"show": show}).status_code == 200
        return len(captured)

    def add() -> None:
        pairs = [make_comparison(project, judgements_required=2) for _ in range(2)]
        judge_all(project)
        mark_gold(comparison=pairs[0], low=1, high=4, by=manager)

    add()
    one = queries()
    for _ in range(20):
        add()
    assert queries() == one


def test_pages_follow_each_other(signed_in, project, manager):
    pairs = [make_comparison(project) for _ in range(32)]
    first = text_of(signed_in.get(GOLD, {"show": "all"}))
    assert f"before={pairs[2].pk}" in first and f"/gold/{pairs[1].pk}/" not in first
    second = text_of(signed_in.get(GOLD, {"show": "all", "before": pairs[2].pk}))
    assert f"/gold/{pairs[1].pk}/" in second and f"/gold/{pairs[2].pk}/" not in second and "before=" not in second


def test_a_manager_lets_somebody_go_on(signed_in, project, annotator):
    Project.objects.update(calibration_size=1, calibration_stops=True)
    Membership.objects.filter(user=annotator).update(calibration="failed")
    page = text_of(signed_in.get(GOLD, {"show": "people"}))
    assert "Not calibrated" in page and "gets no work" in page
    page = text_of(signed_in.post(f"{GOLD}people/{annotator.pk}/excuse/", follow=True))
    assert "anna gets work" in page and "Goes on all the same" in page


def test_a_batch_is_handed_out_and_released(signed_in, project, annotator):
    make_comparison(project)
    sent = {"name": "Medical <1>", "count": 5, "people": [annotator.pk]}
    page = text_of(signed_in.post(BATCHES, sent, follow=True))
    assert "Medical &lt;1&gt;” is handed out: 1 comparison" in page and "0 of 1" in page
    again = signed_in.post(BATCHES, sent)
    assert again.status_code == 422 and "can be handed out now" in text_of(again) and "Medical &lt;1&gt;" in text_of(again)
    page = text_of(signed_in.post(f"{BATCHES}1/release/", follow=True))
    assert "belongs to everybody" in page and "it had 1" in page
    assert signed_in.post(f"{BATCHES}2/release/").status_code == 404


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 101}, {"count": 0}, {"count": "many"}, {"people": []}, {"people": [10**12]}]
)
def test_a_wrong_batch_comes_back(signed_in, project, annotator, wrong):
    make_comparison(project)
    answer = signed_in.post(BATCHES, {"name": "Batch", "count": 5, "people": [annotator.pk]} | wrong)
    assert answer.status_code == 422 and "field-error" in text_of(answer) and not Handout.objects.exists()
