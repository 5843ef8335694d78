"""Figures that the clock keeps up to date."""

import pytest
from django.core.cache import cache

from annotate.quality.reliability import refresh_estimate, stored_estimate
from tests.builders import make_comparison, make_member
from tests.collecting.judged import judge
from training import tasks
from training.clock import automation, kept_figures


@pytest.fixture(autouse=True)
def looked_at_never():
    cache.clear()


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr(type(tasks.estimate_reliability), "enqueue", lambda task, pk: found.append((task.name, pk)))
    return found


def test_the_tick_asks_for_an_estimate_where_several_judge(project, asked):
    project.judgements_required = 2
    project.save()
    automation.keep_figures_up_to_date()
    assert asked == []  # nothing is judged yet
    cache.clear()
    judge(make_comparison(project), make_member(project, "annotator"), "first")
    automation.keep_figures_up_to_date()
    automation.keep_figures_up_to_date()  # it has just looked
    assert asked == [("estimate_reliability", project.pk)]


def test_not_again_until_something_was_judged_and_some_time_has_passed(project, asked, monkeypatch):
    project.judgements_required = 2
    project.save()
    person = make_member(project, "annotator")
    judge(make_comparison(project), person, "first")
    refresh_estimate(project=project)
    monkeypatch.setattr(kept_figures, "ESTIMATE_EVERY", type(kept_figures.ESTIMATE_EVERY)(0))
    automation.keep_figures_up_to_date()
    judge(make_comparison(project), person, "first")
    assert asked == []
    cache.clear()
    automation.keep_figures_up_to_date()
    assert asked == [("estimate_reliability", project.pk)]


def test_the_task_estimates_only_when_it_is_due(project):
    judge(make_comparison(project), make_member(project, "annotator"), "first")
    tasks.estimate_reliability.func(project.pk)
    made_at = stored_estimate(project).made_at
    tasks.estimate_reliability.func(project.pk)
    assert stored_estimate(project).made_at == made_at
