"""The quality page: figures by hand, what is missing in words, who may look, and what it costs."""

import csv
import io
import random
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.data.undoing import undo_import
from annotate.models import Assignment, Judgement, PreferenceImport, QualityBlock, QualityCount
from annotate.quality import counts, figures
from annotate.quality.counts import count_on
from annotate.quality.figures import Share, report_on
from annotate.quality.pictures import bars, positions, times
from annotate.quality.reliability import refresh_estimate
from annotate.quality.tables import TABLES
from annotate.quality.tallies import Tally, tally_of
from annotate.review.decisions import take_back_decision, withdraw_judgement
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt
from training.clock.kept_figures import count_quality

FIRST, SECOND, TIE, BAD = "first", "second", "tie", "both_bad"


def answer(person, comparison, outcome, *, swapped=False, strength=1, grades=2, seconds=10.0, days_ago=0) -> Judgement:
    assignment = Assignment.objects.create(
        comparison=comparison, annotator=person, swapped=swapped, grades=grades, state="judged", expires_at=timezone.now()
    )
    judgement = Judgement.objects.create(
        assignment=assignment, comparison=comparison, annotator=person, outcome=outcome, seconds=seconds,
        strength=strength if outcome in (FIRST, SECOND) else 0,
    )  # fmt: skip
    Judgement.objects.filter(pk=judgement.pk).update(created_at=timezone.now() - timedelta(days=days_ago))
    return judgement


def skip(person, comparison) -> None:
    Assignment.objects.create(
        comparison=comparison,
        annotator=person,
        swapped=False,
        state="skipped",
        expires_at=timezone.now(),
        skipped_at=timezone.now(),
    )


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


@pytest.fixture
def eve(project):
    return make_member(project, "annotator", "eve")


@pytest.fixture
def judged(project, annotator, bob, eve):
    """Three people, four comparisons: two alike, one against them, one alone."""
    one, two, three, four = (make_comparison(project, judgements_required=3) for _ in range(4))
    for person, outcome, swapped in ((annotator, FIRST, False), (bob, FIRST, True), (eve, SECOND, True)):
        answer(person, one, outcome, swapped=swapped)
    for person, outcome in ((annotator, TIE), (bob, TIE)):
        answer(person, two, outcome)
    for person in (annotator, bob, eve):
        answer(person, three, SECOND, seconds=30)
    answer(eve, four, BAD, seconds=None)
    skip(bob, four)


def named(project) -> dict[str, figures.Person]:
    return {person.user.username: person for person in report_on(project).people}


# -- figures -----------------------------------------------------------------------------------------------
def test_the_figures_by_hand(project, judged):
    report = report_on(project)
    people = named(project)
    assert (report.everybody.judged, report.units) == (9, 3)
    # Left: anna 1 of 2, bob 0 of 2, eve 1 (second, swapped) of 2.
    assert [people[name].figures.left for name in ("anna", "bob", "eve")] == [Share(1, 2), Share(0, 2), Share(1, 2)]
    assert report.everybody.left == Share(2, 6)
    assert (report.everybody.ties, report.everybody.both_bad) == (Share(2, 9), Share(1, 9))
    assert people["bob"].figures.skips == Share(1, 4)
    assert (report.everybody.median_seconds, report.everybody.middle_half) == (10, (10, 30))
    assert people["eve"].figures.own.seconds == {100: 1, 300: 1}
    # Against the others: comparison one has two firsts against eve; for anna and bob the others are divided there.
    assert [people[name].agreeing for name in ("anna", "bob", "eve")] == [Share(2, 2), Share(2, 2), Share(1, 2)]
    assert report.agreeing == Share(5, 7)  # one: 1 of 3, two: 1 of 1, three: 3 of 3
    # Coincidences: first-first 1, first-second 1, tie-tie 2, second-second 3; so 2 firsts, 4 seconds, 2 ties.
    assert report.alpha_choice == pytest.approx(1 - 7 * 1 / (2 * 4 + 2 * 2 + 4 * 2))


def test_grades_of_two_scales_lie_on_one_line(project, annotator):
    """“Better” is the same words, be it the only grade of two or the third of eight; the export keeps the numbers."""
    answer(annotator, make_comparison(project), FIRST, grades=2)
    answer(annotator, make_comparison(project), FIRST, strength=3, grades=8)
    answer(annotator, make_comparison(project), SECOND, strength=2, grades=4)
    assert report_on(project).everybody.own.screen == {"a3": 2, "b4": 1}


def test_both_bad_has_no_place_between_a_and_b(project, annotator, bob):
    for strength in (1, 4):
        comparison = make_comparison(project, judgements_required=2)
        for person in (annotator, bob):
            answer(person, comparison, FIRST, strength=strength, grades=8)
    comparison = make_comparison(project, judgements_required=2)
    answer(annotator, comparison, BAD)
    answer(bob, comparison, FIRST, strength=4, grades=8)
    report = report_on(project)
    assert report.alpha_grade == 1.0
    assert report.alpha_choice < 1


def test_what_is_withdrawn_or_in_another_project_does_not_count(project, annotator):
    answer(annotator, make_comparison(make_project()), FIRST)
    Judgement.objects.filter(pk=answer(annotator, make_comparison(project), TIE).pk).update(withdrawn_at=timezone.now())
    answer(annotator, make_comparison(project), FIRST)
    assert report_on(project).everybody.own.outcomes == {FIRST: 1}


def test_the_answers_as_they_stood_on_the_screen(project, annotator):
    for outcome, swapped in ((FIRST, False), (SECOND, True), (SECOND, False), (TIE, True)):
        answer(annotator, make_comparison(project), outcome, swapped=swapped, strength=2, grades=4)
    assert positions(report_on(project).everybody.own) == [
        ("A significantly better", "a", 2), ("Tie", "neither", 1), ("Both bad", "neither", 0), ("B significantly better", "b", 1),
    ]  # fmt: skip


def test_of_an_imported_judgement_nobody_knows_what_stood_left(project, annotator):
    batch = PreferenceImport.objects.create(project=project, number=1, file_name="x.jsonl", format="trl")
    Judgement.objects.filter(pk=answer(annotator, make_comparison(project), FIRST).pk).update(batch=batch)
    report = report_on(project)
    assert (report.everybody.judged, report.everybody.left) == (1, Share(0, 0))
    assert not any(count for _, _, count in positions(report.everybody.own))


def test_flags_are_counted_also_those_that_are_offered_no_more(client, owner, project, annotator):
    project.flags = ["unsafe", "cut off"]
    project.save()
    for flags in (["cut off"], ["cut off", "rude"], []):
        Judgement.objects.filter(pk=answer(annotator, make_comparison(project), FIRST).pk).update(flags=flags)
    assert report_on(project).flags(project.flags) == [("unsafe", 0), ("cut off", 2), ("rude", 1)]
    assert 'CSV<span class="visually-hidden"> of flags' in page_of(client, owner, project)
    assert file_of(client, owner, project, "flags")[1:] == [["cut off", "anna", "2"], ["rude", "anna", "1"]]


def test_pictures_by_hand():
    assert times({19: 1, 20: 1, 49: 1, 1600: 1, 99990: 1})[:2] == [("under 2 s", 1), ("2–5 s", 2)]
    assert times({19: 1, 20: 1, 49: 1, 1600: 1, 99990: 1})[-1] == ("160 s or more", 2)
    assert [(bar.height, bar.top, bar.share) for bar in bars([("x", 1), ("y", 4)])] == [(25, 75, 0.2), (100, 0, 0.8)]
    assert [bar.height for bar in bars([("x", 0)])] == [0] and bars([]) == []


def test_days_without_work_are_days_too(project, annotator):
    for ago in (0, 0, 3, 40):
        answer(annotator, make_comparison(project), FIRST, days_ago=ago)
    days = report_on(project).everybody.days()
    assert len(days) == 30 and [count for _, count in days[-4:]] == [1, 0, 0, 2]
    assert days[-1][0] == timezone.localdate()


# -- flags -------------------------------------------------------------------------------------------------
def test_answers_faster_than_anybody_reads(project, annotator, bob):
    prompt = make_prompt(project)
    long = make_completion(prompt, "word " * 200)  # 1,000 characters: ten seconds at a hundred a second
    for number in range(12):
        comparison = make_comparison(project, prompt, first=long, second=make_completion(prompt, f"no {number}"))
        answer(annotator, comparison, FIRST, swapped=number % 2 == 0, seconds=10.5)
        answer(bob, comparison, FIRST, swapped=number % 2 == 0, seconds=9.5)
    people = named(project)
    assert people["anna"].figures.too_fast == Share(0, 12) and people["anna"].flags == []
    assert people["bob"].figures.too_fast == Share(12, 12) and people["bob"].flags == ["too fast"]


def test_somebody_who_clicks_left_quickly_and_against_the_others(project, annotator, bob, eve):
    for number in range(20):
        comparison = make_comparison(project, judgements_required=3)
        for person in (annotator, bob):
            answer(person, comparison, FIRST, swapped=number % 2 == 0, seconds=20)
        answer(eve, comparison, SECOND, swapped=True, seconds=2)
    people = named(project)
    assert people["anna"].flags == people["bob"].flags == []
    assert people["eve"].flags == ["far quicker than most", "leans left", "against the others"]


def test_nothing_is_said_about_somebody_on_a_few_judgements(project, annotator):
    for _ in range(9):
        answer(annotator, make_comparison(project), FIRST, seconds=0.1)
    assert named(project)["anna"].flags == []


# -- the page ----------------------------------------------------------------------------------------------
def page_of(client, user, project) -> str:
    client.force_login(user)
    answer = client.get(reverse("quality", args=[project.slug]))
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_it(client, manager, project, judged):
    html = page_of(client, manager, project)
    assert "α 0.65" in html and "anna" in html and "71 % of pairs are the same" in html
    for table in set(TABLES) - {"flags"}:  # this project has none
        assert reverse("quality_table", args=[project.slug, table]) in html


def test_one_day_is_told_as_one(client, manager, project, annotator):
    answer(annotator, make_comparison(project), FIRST)
    client.force_login(manager)
    said = "One day so far, with 1 judgement."
    assert said in client.get(reverse("quality", args=["taste"])).content.decode()
    assert said in client.get(reverse("quality_person", args=["taste", annotator.pk])).content.decode()


def test_an_empty_project_says_so(client, owner, project):
    assert "Nothing has been judged yet" in page_of(client, owner, project)


def test_one_annotator_is_told_what_is_missing(client, owner, project, annotator):
    answer(annotator, make_comparison(project), FIRST)
    html = page_of(client, owner, project)
    assert "Only anna has judged so far." in html and "add one under Members" in html and "α 0" not in html


def test_people_who_share_nothing_are_told_what_is_missing(client, owner, project, annotator, bob):
    for person in (annotator, bob):
        answer(person, make_comparison(project), FIRST)
    assert "No comparison has been judged by two people yet" in page_of(client, owner, project)


def test_answers_that_never_vary_are_told_to_have_no_alpha(client, owner, project, annotator, bob):
    comparison = make_comparison(project, judgements_required=2)
    for person in (annotator, bob):
        answer(person, comparison, FIRST)
    assert "alpha is not defined: it needs some variation" in page_of(client, owner, project)


def test_somebody_who_has_only_skipped(client, owner, project, annotator):
    skip(annotator, make_comparison(project))
    html = page_of(client, owner, project)
    assert "No judgement came with its time yet." in html and "100 %" in html


@pytest.mark.parametrize("role", ["annotator", "viewer"])
def test_others_see_no_names(client, project, role, judged):
    client.force_login(make_member(project, role))
    assert client.get(reverse("quality", args=[project.slug])).status_code == 403
    assert client.get(reverse("quality_table", args=[project.slug, "people"])).status_code == 403


def test_as_many_queries_for_one_judgement_as_for_many(client, owner, project):
    page_of(client, owner, project)  # signs in
    counts = []
    for more in (1, 30):
        for _ in range(more):
            comparison = make_comparison(project, judgements_required=2)
            for person in (make_member(project, "annotator"), make_member(project, "annotator")):
                answer(person, comparison, FIRST)
        with CaptureQueriesContext(connection) as queries:
            html = client.get(reverse("quality", args=[project.slug])).content.decode()
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert "38 more people are in the file" in html  # the heat map stops at 24


# -- much of it: kept in blocks ----------------------------------------------------------------------------
@pytest.fixture
def much(monkeypatch):
    """Two judgements are too many for a page to count, and four comparisons make a block."""
    monkeypatch.setattr(counts, "AT_ONCE", 2)
    monkeypatch.setattr("annotate.views.quality.AT_ONCE", 2)
    monkeypatch.setattr(counts, "BLOCK", 4)


def test_until_all_is_counted_the_newest_are_shown_and_it_is_said(client, owner, project, annotator, much):
    for outcome in (TIE, FIRST, FIRST):
        answer(annotator, make_comparison(project), outcome)
    assert report_on(project).everybody.ties == Share(0, 2)
    assert "the newest 2 judgements" in page_of(client, owner, project)
    count_on(project=project)
    assert report_on(project).everybody.ties == Share(1, 3)
    html = page_of(client, owner, project)
    assert "the newest 2 judgements" not in html and "As counted" in html


def at_random(project, people, number) -> None:
    draw = random.Random(5)
    for _ in range(number):
        comparison = make_comparison(project, judgements_required=3)
        for person in draw.sample(people, draw.choice([1, 2, 3])):
            outcome = draw.choice([FIRST, FIRST, SECOND, TIE, BAD])
            how = {"swapped": draw.random() < 0.5, "grades": 8, "strength": draw.choice([1, 2, 3, 4])}
            answer(person, comparison, outcome, seconds=round(draw.uniform(0.5, 50), 1), days_ago=draw.choice([0, 3]), **how)


def same_figures(one: figures.Report, other: figures.Report) -> None:
    assert (one.alpha_choice, one.alpha_grade) == (pytest.approx(other.alpha_choice), pytest.approx(other.alpha_grade))
    assert (one.units, one.matrix, one.everybody.own) == (other.units, other.matrix, other.everybody.own)
    figures = [[(p.name, p.figures.own, p.figures.skips, p.flags) for p in report.people] for report in (one, other)]
    assert figures[0] == figures[1]


def test_kept_in_blocks_it_is_what_is_counted_at_once(project, annotator, bob, eve, monkeypatch):
    at_random(project, [annotator, bob, eve], 30)
    skip(bob, make_comparison(project))
    at_once = report_on(project)
    monkeypatch.setattr(counts, "AT_ONCE", 2)
    monkeypatch.setattr(counts, "BLOCK", 4)
    rounds = 1
    while count_on(project=project, seconds=0):
        rounds += 1
    assert rounds == QualityBlock.objects.count() > 5
    kept = report_on(project)
    assert kept.counted_at and not at_once.counted_at
    same_figures(kept, at_once)


def test_what_comes_goes_and_comes_back_is_counted_the_rest_not_read_again(project, annotator, bob, manager, much, monkeypatch):
    monkeypatch.setattr(counts, "OVERLAP", 0)
    monkeypatch.setattr(counts, "SLACK", timedelta(0))
    at_random(project, [annotator, bob, manager], 30)
    count_on(project=project)
    assert count_on(project=project) is False
    read = []
    count_block = counts._count_block
    monkeypatch.setattr(counts, "_count_block", lambda of, number: read.append(number) or count_block(of, number))
    before = report_on(project).everybody.judged
    newest = make_comparison(project)
    judgement = answer(annotator, newest, FIRST)
    count_on(project=project)
    assert (read, report_on(project).everybody.judged) == ([newest.pk // 4], before + 1)
    decision = withdraw_judgement(judgement=judgement, by=manager, why="No.")
    count_on(project=project)
    assert report_on(project).everybody.judged == before
    take_back_decision(decision=decision, by=manager)
    count_on(project=project)
    assert report_on(project).everybody.judged == before + 1 and set(read) == {newest.pk // 4}


def test_the_running_total_is_what_its_blocks_add_up_to(project, annotator, bob, eve, manager, much, monkeypatch):
    monkeypatch.setattr(counts, "OVERLAP", 0)
    people = [annotator, bob, eve]
    at_random(project, people, 30)
    count_on(project=project)
    draw = random.Random(9)
    for step in range(6):
        for judgement in draw.sample(list(Judgement.objects.standing()), 4 + 10 * (step == 4)):
            withdraw_judgement(judgement=judgement, by=manager, why="No.")
        at_random(project, people, 3 * (step % 2))
        if step == 5:  # somebody is in no block any more
            Judgement.objects.filter(annotator=eve, withdrawn_at=None).update(withdrawn_at=timezone.now())
        if step == 3:  # one that was kept before there was a running total
            QualityCount.objects.update(running={})
        while count_on(project=project, seconds=0):
            pass
        kept = QualityCount.objects.get()
        standing = Judgement.objects.standing().filter(comparison__project=project)
        assert Tally.from_json(kept.tally) == counts._merge(project) == tally_of(counts._read(standing))
    assert eve.pk not in Tally.from_json(kept.tally).people


def test_an_import_that_is_undone_is_counted_out(project, annotator, bob, much):
    batch = PreferenceImport.objects.create(project=project, number=1, file_name="x.jsonl", format="trl")
    for _ in range(4):
        answer(annotator, make_comparison(project), FIRST)
        Judgement.objects.filter(pk=answer(bob, make_comparison(project, batch=batch), TIE).pk).update(batch=batch)
    count_on(project=project)
    assert report_on(project).everybody.judged == 8
    undo_import(batch=batch)
    count_on(project=project)
    assert report_on(project).everybody.judged == 4


def test_the_clock_counts_where_there_is_much(project, annotator, much):
    cache.clear()
    for _ in range(3):
        answer(annotator, make_comparison(project), FIRST)
    count_quality()
    assert report_on(project).counted_at


def test_the_page_reads_no_judgement_once_they_are_counted(client, owner, project, annotator, bob, eve, much):
    at_random(project, [annotator, bob, eve], 20)
    count_on(project=project)
    client.force_login(owner)
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse("quality", args=[project.slug]))
    assert not [each["sql"] for each in queries if "annotate_completion" in each["sql"] or "annotate_assignment" in each["sql"]]


# -- one person --------------------------------------------------------------------------------------------
def test_a_persons_own_page(client, manager, project, judged, eve):
    page = page_of(client, manager, project)
    address = reverse("quality_person", args=[project.slug, eve.pk])
    assert address in page
    html = client.get(address).content.decode()
    assert "<h1>eve" in html and "of 9;" in html and "50 %" in html
    assert "Nothing judged yet." in client.get(reverse("quality_person", args=[project.slug, manager.pk])).content.decode()
    stranger = make_member(make_project(), "annotator")
    assert client.get(reverse("quality_person", args=[project.slug, stranger.pk])).status_code == 404


def test_the_reliability_is_shown_once_it_is_estimated(client, manager, project, judged):
    assert "Reliability" not in page_of(client, manager, project)
    refresh_estimate(project=project)
    assert "Reliability" in page_of(client, manager, project)
    head, *people = file_of(client, manager, project, "people")
    assert all(0 <= float(row[head.index("reliability")]) <= 1 for row in people)


# -- files -------------------------------------------------------------------------------------------------
def file_of(client, user, project, table) -> list[list[str]]:
    client.force_login(user)
    answer = client.get(reverse("quality_table", args=[project.slug, table]))
    assert answer["Content-Type"].startswith("text/csv") and f"taste-{table}.csv" in answer["Content-Disposition"]
    return list(csv.reader(io.StringIO(answer.content.decode())))


def test_each_table_is_a_file(client, manager, project, judged):
    assert ["anna", "eve", "1", "2", "0.5"] in file_of(client, manager, project, "agreement")
    head, *people = file_of(client, manager, project, "people")
    eve = dict(zip(head, next(row for row in people if row[0] == "eve"), strict=True))
    assert (eve["judgements"], eve["agrees"], eve["agrees_of"], eve["left"], eve["left_of"]) == ("3", "1", "2", "1", "2")
    assert (eve["median_seconds"], eve["timed"]) == ("20", "2")
    assert ["A better", "2"] in file_of(client, manager, project, "answers")
    assert ["10–20 s", "5"] in file_of(client, manager, project, "seconds")
    assert [timezone.localdate().isoformat(), "bob", "3"] in file_of(client, manager, project, "days")
    client.force_login(manager)
    assert client.get(reverse("quality_table", args=[project.slug, "secrets"])).status_code == 404


def test_a_name_is_no_formula_in_a_spreadsheet(client, manager, project, annotator):
    annotator.name = "=HYPERLINK(1)"
    annotator.save()
    answer(annotator, make_comparison(project), FIRST)
    assert file_of(client, manager, project, "people")[1][0] == "'=HYPERLINK(1)"
