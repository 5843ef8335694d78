"""Judgements of a large project are counted from what the clock kept and what has happened since: exactly."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from annotate.data.undoing import undo_import
from annotate.models import Comparison, Judgement, PairCount, PreferenceImport
from annotate.models.quality import QualityCount
from annotate.people.activity import list_activity
from annotate.projects import progress
from annotate.projects.judged import Judged, count_judged, count_judged_since, people_of
from annotate.projects.progress import count_pairs, keep_pairs, recent_pairs
from annotate.quality import counts
from annotate.review.decisions import withdraw_judgement
from tests.builders import make_comparison, make_member, make_project
from tests.collecting.judged import judge


@pytest.fixture
def much(monkeypatch):
    monkeypatch.setattr(counts, "AT_ONCE", 2)
    monkeypatch.setattr(counts, "BLOCK", 4)
    monkeypatch.setattr(progress, "LARGE", 2)


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


def honest(project) -> Judged:
    standing = Judgement.objects.standing().filter(comparison__project=project).order_by("created_at")
    outcomes = [each.outcome for each in standing]
    return Judged(len(outcomes), sum(each in ("tie", "both_bad") for each in outcomes), standing.last().created_at)


def test_counted_at_once_or_by_the_clock_it_is_the_same(project, annotator, bob, manager, much):
    judge(make_comparison(make_project()), annotator, "tie")  # of another project
    for outcome in ("first", "tie", "both_bad", "second", "tie"):
        judge(make_comparison(project), annotator, outcome)
    assert count_judged(project) == honest(project)  # before the clock
    while counts.count_on(project=project):
        pass
    assert count_judged(project) == honest(project)
    come = judge(make_comparison(project), bob, "tie")
    assert count_judged(project) == honest(project) and count_judged(project).all == 6
    earlier = Judgement.objects.filter(comparison__project=project, outcome="tie").first()
    withdraw_judgement(judgement=earlier, by=manager, why="No.")
    withdraw_judgement(judgement=come, by=manager, why="No.")
    found = count_judged(project)
    assert (found.all, found.sideless) == (honest(project).all, honest(project).sideless) == (4, 2)


def test_what_comes_and_goes_while_the_clock_counts_is_counted_once(project, annotator, bob, manager, much):
    pairs = [make_comparison(project, judgements_required=2) for _ in range(12)]
    judged = [judge(pair, annotator, "first") for pair in pairs]
    assert counts.count_on(project=project, seconds=0)  # one block of several
    judge(pairs[0], bob, "tie"), judge(pairs[-1], bob, "tie")
    for each in (judged[0], judged[-1]):
        withdraw_judgement(judgement=each, by=manager, why="No.")
    while counts.count_on(project=project, seconds=0):
        pass
    assert QualityCount.objects.get().counted_newest == judged[-1].pk
    for _ in range(2):
        found = count_judged(project)
        assert (found.all, found.sideless) == (honest(project).all, honest(project).sideless) == (12, 2)
        assert count_judged_since(project, timezone.localdate()) == {annotator.pk: 10, bob.pk: 2}
        counts.count_on(project=project)


def test_an_import_that_is_undone_is_out_at_once(project, annotator, bob, much):
    batch = PreferenceImport.objects.create(project=project, number=1, file_name="x.jsonl", format="trl")
    for _ in range(4):
        judge(make_comparison(project), annotator, "first")
        judge(make_comparison(project, batch=batch), bob, "tie", batch=batch)
    while counts.count_on(project=project):
        pass
    assert count_judged(project).all == 8
    undo_import(batch=batch)
    assert count_judged(project).all == honest(project).all == 4
    while counts.count_on(project=project):
        pass
    assert count_judged(project).all == 4


@pytest.mark.parametrize("by_clock", [False, True])
def test_the_week_of_each_member(project, annotator, bob, owner, manager, much, by_clock):
    for ago in (0, 5, 6, 7, 30):
        judgement = judge(make_comparison(project), annotator, "first")
        at = timezone.localtime().replace(hour=12) - timedelta(days=ago)
        Judgement.objects.filter(pk=judgement.pk).update(created_at=at)
    if by_clock:
        while counts.count_on(project=project):
            pass
    judge(make_comparison(project), bob, "first")
    taken_back = Judgement.objects.filter(annotator=annotator).first()
    withdraw_judgement(judgement=taken_back, by=manager, why="No.")
    assert {each.person: each.week for each in list_activity(project)} == {owner: 0, manager: 0, annotator: 2, bob: 1}
    assert count_judged_since(project, timezone.localdate())[bob.pk] == 1
    assert set(people_of(project)) == {owner, manager, annotator, bob}


def test_pairs_of_a_large_project_are_those_the_clock_counted_and_a_short_queue_is_counted_anew(project, annotator, much):
    for _ in range(3):
        judge(make_comparison(project), annotator, "first")
    make_comparison(project)
    keep_pairs(project=project)
    assert recent_pairs(project) == count_pairs(project)
    make_comparison(project, state="retired")
    make_comparison(project, free_places=0)
    cache.clear()
    kept, now = recent_pairs(project), count_pairs(project)
    assert (kept.waiting, kept.free, kept.retired) == (now.waiting, now.free, now.retired - 1) == (2, 1, 0)
    PairCount.objects.update(counted_at=timezone.now() - timedelta(hours=1))  # the clock has stopped
    cache.clear()
    assert recent_pairs(project) == now
    Comparison.objects.filter(project=project, state="retired").delete()
    Comparison.objects.filter(project=project).update(purpose="gold")
    keep_pairs(project=project)
    assert not PairCount.objects.exists()
