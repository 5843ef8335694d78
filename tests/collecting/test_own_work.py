"""One's own work: past answers that can be changed for a while, skips that can be taken up, figures."""

import uuid
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.judging.judgements import JudgementRefused, change_judgement, record_judgement, take_back_last, take_up_skipped
from annotate.judging.own_work import list_judged, list_skipped, own_figures
from annotate.models import Assignment, Comparison, Judgement
from annotate.projects.changes import set_archived
from annotate.queue.claims import claim_comparison, skip_comparison
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt
from tests.collecting.leases import assert_places_add_up
from tests.collecting.test_concurrency import at_once


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


def answer(project, person, choice="a", **fields) -> Judgement:
    lease = claim_comparison(project=project, annotator=person)
    return record_judgement(annotator=person, assignment_id=lease.pk, key=uuid.uuid4(), choice=choice, **fields)


def change(judgement, choice="b", key=None, annotator=None, **fields) -> Judgement:
    who = annotator or judgement.annotator
    key = key or uuid.uuid4()
    return change_judgement(annotator=who, assignment_id=judgement.assignment_id, key=key, choice=choice, **fields)


def refusal(judgement, **fields) -> JudgementRefused:
    before = list(Judgement.objects.order_by("pk").values())
    with pytest.raises(JudgementRefused) as refused:
        change(judgement, **fields)
    assert list(Judgement.objects.order_by("pk").values()) == before
    return refused.value


@pytest.fixture
def judged(project, annotator) -> Judgement:
    make_comparison(project)
    return answer(project, annotator, seconds=12, rationale="first thought")


# -- changing ----------------------------------------------------------------------------------------------
def test_a_changed_answer_takes_the_place_of_the_old_one_which_stays(project, judged):
    changed = change(judged, rationale="second thought")
    judged.refresh_from_db()
    assert judged.withdrawn_at and judged.rationale == "first thought"
    assert (changed.replaces, changed.seconds, changed.rationale) == (judged, 12, "second thought")
    assert changed.outcome != judged.outcome
    assert list(Judgement.objects.standing()) == [changed]
    assert (Comparison.objects.get().state, Comparison.objects.get().free_places) == ("done", 0)
    assert_places_add_up()
    again = change(changed, "tie")
    assert again.replaces == changed and Judgement.objects.count() == 3


@pytest.mark.parametrize(("minutes", "passed", "may"), [(60, 59, True), (60, 61, False), (0, 0, False), (120, 61, True)])
def test_for_as_long_as_the_project_says(project, judged, minutes, passed, may):
    project.changeable_minutes = minutes
    project.save()
    Judgement.objects.update(created_at=timezone.now() - timedelta(minutes=passed))
    if may:
        assert change(judged).replaces == judged
    else:
        assert refusal(judged).code == "too_late"


def test_changing_wins_no_more_time(judged):
    Judgement.objects.update(created_at=timezone.now() - timedelta(minutes=50))
    changed = change(judged)
    Judgement.objects.filter(pk=judged.pk).update(created_at=timezone.now() - timedelta(minutes=61))
    assert refusal(changed, choice="tie").code == "too_late"


def test_the_same_request_twice_is_one_change(judged):
    key = uuid.uuid4()
    assert change(judged, key=key) == change(judged, key=key)
    assert Judgement.objects.count() == 2


def test_what_stands_already_writes_nothing(project, annotator):
    make_comparison(project)
    judged = answer(project, annotator, rationale="same")
    assert change(judged, "a", rationale="same") == judged
    assert Judgement.objects.count() == 1


def test_nobody_changes_anothers_answer(judged, bob, viewer, stranger):
    for person in (bob, viewer, stranger):
        assert refusal(judged, annotator=person).code == "not_yours"


def test_an_answer_that_was_taken_back_is_not_there_to_be_changed(project, annotator, judged):
    take_back_last(project=project, annotator=annotator)
    assert refusal(judged).code == "not_judged"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"choice": "left"}, "unknown_choice"), ({"choice": "both_bad"}, "not_offered"), ({"flags": ["odd"]}, "unknown_flag"),
        ({"rationale": "x" * 10_001}, "invalid_rationale"), ({"strength": 9}, "unknown_strength"), ({"key": "a"}, "invalid_key"),
    ],
)  # fmt: skip
def test_bad_input(project, judged, fields, code):
    project.allows_both_bad = False
    project.save()
    assert refusal(judged, **fields).code == code


def test_a_key_of_another_answer_is_refused(project, annotator, judged):
    make_comparison(project)
    other = answer(project, annotator)
    assert refusal(judged, key=other.key).code == "key_reused"


def test_a_flag_that_the_project_has_dropped_stays_on_the_answer(project, annotator):
    project.flags = ["unsafe", "wrong"]
    project.save()
    make_comparison(project)
    judged = answer(project, annotator, flags=["unsafe", "wrong"])
    project.flags = ["wrong"]
    project.save()
    assert sorted(change(judged, flags=[]).flags) == ["unsafe"]


@pytest.mark.django_db(transaction=True)
def test_two_tabs_change_at_once():
    project = make_project()
    person = make_member(project, "annotator")
    for _ in range(4):
        make_comparison(project)
        judged = answer(project, person)
        at_once(partial(change, judged, "b"), partial(change, judged, "tie"))
        rows = list(judged.assignment.judgements.order_by("pk"))
        assert [row.replaces_id for row in rows] == [None, rows[0].pk, rows[1].pk]
        assert [row.withdrawn_at is None for row in rows] == [False, False, True]
    assert_places_add_up()


# -- the page ----------------------------------------------------------------------------------------------
@pytest.fixture
def at(project):
    return lambda name, *rest: reverse(name, args=[project.slug, *rest])


def test_it_shows_the_pair_as_it_was_seen(client, project, annotator, at):
    for swapped in (False, True):
        prompt = make_prompt(project)
        make_comparison(project, prompt, first=make_completion(prompt, "apple"), second=make_completion(prompt, "pear"))
        lease = claim_comparison(project=project, annotator=annotator)
        Assignment.objects.filter(pk=lease.pk).update(swapped=swapped)
        record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")
    newest, oldest = list_judged(project=project, annotator=annotator).rows
    assert (newest.a, newest.b, newest.answer, newest.side) == ("pear", "apple", "A is better", "a")
    assert (oldest.a, oldest.b, oldest.answer, oldest.side) == ("apple", "pear", "A is better", "a")
    client.force_login(annotator)
    page = client.get(at("own_judgement", newest.assignment)).content.decode()
    assert page.index("pear") < page.index("apple") and "You said: A is better" in page


def test_it_shows_nobody_elses_work(client, project, annotator, bob, judged, at):
    client.force_login(bob)
    assert "first thought" not in client.get(at("own_work")).content.decode()
    assert client.get(at("own_judgement", judged.assignment_id)).status_code == 404
    assert client.post(at("own_judgement", judged.assignment_id), {"choice": "b"}).status_code == 404


def test_changing_in_the_browser_keeps_the_history_in_sight(client, annotator, judged, at):
    client.force_login(annotator)
    address = at("own_judgement", judged.assignment_id)
    assert client.post(address, {"key": uuid.uuid4(), "choice": "tie", "rationale": "alike"}).url == at("own_work")
    page = client.get(at("own_work")).content.decode()
    assert "Tie" in page and "changed" in page and "alike" in page
    page = client.get(address).content.decode()
    assert "What you said before" in page and "first thought" in page


def test_a_refused_change_comes_back_with_what_was_written(client, project, annotator, judged, at):
    project.rationale = "strong"
    project.save()
    client.force_login(annotator)
    address = at("own_judgement", judged.assignment_id)
    answer = client.post(address, {"key": uuid.uuid4(), "choice": "a", "rationale": ""})
    assert answer.status_code == 422 and "Say in a few words why it is better." in answer.content.decode()
    answer = client.post(address, {"key": "x", "choice": "q", "rationale": "kept words"})
    assert answer.status_code == 422 and "kept words" in answer.content.decode()
    Judgement.objects.update(created_at=timezone.now() - timedelta(days=1))
    answer = client.post(address, {"key": uuid.uuid4(), "choice": "b", "rationale": "kept words"})
    assert answer.status_code == 409 and "stands as it is" in answer.content.decode()


def test_it_is_paged_by_key_at_a_flat_cost(client, project, annotator, at):
    client.force_login(annotator)

    def queries(**asked) -> int:
        with CaptureQueriesContext(connection) as found:
            assert client.get(at("own_work"), asked).status_code == 200
        return len(found)

    for number in range(2):
        make_comparison(project)
        answer(project, annotator, rationale=f"number {number}")
    few = queries()
    for number in range(2, 30):
        make_comparison(project)
        answer(project, annotator, rationale=f"number {number}")
    assert queries() == few
    seen, before = [], None
    while True:
        page = list_judged(project=project, annotator=annotator, before=before)
        seen += [row.rationale for row in page.rows]
        before = page.older_than
        if before is None:
            break
    assert seen == [f"number {number}" for number in reversed(range(30))]
    for odd in ("x", "0" * 40, "\0", str(uuid.uuid4())):
        queries(before=odd)


# -- what was skipped --------------------------------------------------------------------------------------
@pytest.fixture
def skipped(project, annotator) -> Assignment:
    make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    return skip_comparison(annotator=annotator, assignment_id=lease.pk, reason="The two are the same")


def test_a_skipped_pair_is_taken_up_again_and_comes_next(client, project, annotator, skipped, at):
    make_comparison(project, priority=9)
    claim_comparison(project=project, annotator=annotator)
    client.force_login(annotator)
    assert "The two are the same" in client.get(at("own_work"), {"show": "skipped"}).content.decode()
    assert client.post(at("own_take_up", skipped.pk)).url == at("compare")
    assert claim_comparison(project=project, annotator=annotator) == skipped
    assert_places_add_up()
    assert not list_skipped(project=project, annotator=annotator).rows


def test_not_when_others_have_taken_its_place(client, project, annotator, bob, skipped, at):
    answer(project, bob)
    assert not list_skipped(project=project, annotator=annotator).rows[0].may_take_up
    client.force_login(annotator)
    page = client.post(at("own_take_up", skipped.pk), follow=True).content.decode()
    assert "there is no place left in it" in page
    assert_places_add_up()


def test_not_in_an_archived_project_and_not_anothers(project, annotator, bob, skipped):
    with pytest.raises(JudgementRefused):
        take_up_skipped(annotator=bob, assignment_id=skipped.pk)
    set_archived(project=project, archived=True)
    with pytest.raises(JudgementRefused):
        take_up_skipped(annotator=annotator, assignment_id=skipped.pk)


@pytest.mark.django_db(transaction=True)
def test_two_who_skipped_want_the_last_place_back_at_once():
    project = make_project()
    people = [make_member(project, "annotator") for _ in range(2)]
    for _ in range(4):
        make_comparison(project)
        mine = []
        for person in people:
            lease = claim_comparison(project=project, annotator=person)
            mine.append(skip_comparison(annotator=person, assignment_id=lease.pk))

        def take_up(assignment) -> bool:
            try:
                take_up_skipped(annotator=assignment.annotator, assignment_id=assignment.pk)
            except JudgementRefused:
                return False
            return True

        assert sorted(at_once(*(partial(take_up, assignment) for assignment in mine))) == [False, True]
        assert_places_add_up()
        for lease in Assignment.objects.filter(state="leased"):
            record_judgement(annotator=lease.annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")


# -- figures -----------------------------------------------------------------------------------------------
def test_figures_by_hand(project, annotator, bob):
    for seconds in (10, 20, 60):
        make_comparison(project)
        answer(project, annotator, seconds=seconds)
    make_comparison(project)
    answer(project, bob, seconds=1)
    figures = own_figures(project=project, annotator=annotator)
    assert (figures.today, figures.week, figures.median_seconds, figures.per_hour) == (3, 3, 20, 120)
    assert figures.agreeing is None
    monday = timezone.localtime() - timedelta(days=timezone.localtime().weekday())
    Judgement.objects.filter(annotator=annotator).update(created_at=monday - timedelta(days=1))
    figures = own_figures(project=project, annotator=annotator)
    assert (figures.today, figures.week, figures.per_hour) == (0, 0, None)


def test_agreement_only_where_the_project_shows_it_and_over_enough_pairs(client, project, annotator, bob, at):
    project.judgements_required = 2
    project.save()
    for number in range(20):
        make_comparison(project)
        mine = answer(project, annotator, "a")
        theirs = claim_comparison(project=project, annotator=bob)
        same = "a" if mine.assignment.swapped == theirs.swapped else "b"
        choice = same if number < 15 else "tie"
        record_judgement(annotator=bob, assignment_id=theirs.pk, key=uuid.uuid4(), choice=choice)
        if number == 18:
            project.shows_agreement = True
            assert own_figures(project=project, annotator=annotator).agreeing is None
    assert own_figures(project=project, annotator=annotator).agreeing == (15, 20)
    make_comparison(project)
    answer(project, annotator, "a")  # one that waits for another is not among them
    assert own_figures(project=project, annotator=annotator).agreeing == (15, 20)
    client.force_login(annotator)
    assert "Like most others" not in client.get(at("own_work")).content.decode()
    project.save()
    assert "75 <small>%</small>" in client.get(at("own_work")).content.decode()


def test_an_annotator_without_work_has_a_page_all_the_same(client, annotator, at):
    client.force_login(annotator)
    assert "Nothing judged yet" in client.get(at("own_work")).content.decode()


# -- breaks ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("minutes", "status"), [(0, 302), (90, 302), (481, 422), (-1, 422), ("often", 422), ("", 422)])
def test_the_break_reminder_is_each_persons_own(client, annotator, minutes, status):
    client.force_login(annotator)
    answer = client.post(reverse("account"), {"form": "break", "break_minutes": minutes})
    annotator.refresh_from_db()
    assert answer.status_code == status and annotator.break_minutes == (minutes if status == 302 else 50)
    assert status == 302 or "field-error" in answer.content.decode()
