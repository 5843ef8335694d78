"""Runs that start by themselves: after N new judgements, at a time of the week; and what the project's page says of it."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from annotate.models.prompt import Split
from tests.builders import make_prompt, make_version
from tests.training.rows import make_judgement
from training.clock.automation import tick
from training.clock.scheduling import next_time, start_due_runs, why_due
from training.models import Run

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def base(project, var_dir):
    cache.clear()
    return make_version(project, serving=True, name="tiny")


def judge(project, annotator, count=1, **fields) -> None:
    for _ in range(count):
        make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), **fields)


def ask(project, **fields) -> None:
    type(project).objects.filter(pk=project.pk).update(**fields)
    project.refresh_from_db()


def test_a_run_starts_once_n_new_judgements_have_come(project, annotator, base):
    ask(project, trains_after=3)
    judge(project, annotator, 2)
    judge(project, annotator, purpose="evaluate")
    tick()
    assert not Run.objects.exists()
    judge(project, annotator)
    tick()
    run = Run.objects.get()
    assert run.started_by is None and run.dataset.train_count == 3
    tick()
    Run.objects.update(state="failed")
    tick()
    assert Run.objects.count() == 1  # those three are no longer new
    judge(project, annotator, 3)
    tick()
    assert Run.objects.count() == 2


@pytest.mark.parametrize(
    ("day", "at", "after", "expected"),
    [
        ("daily", time(3), MONDAY, datetime(2026, 11, 24, 3, tzinfo=UTC)),
        ("daily", time(13), MONDAY, datetime(2026, 11, 23, 13, tzinfo=UTC)),
        ("daily", time(12), MONDAY, datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("0", time(3), MONDAY, datetime(2026, 11, 30, 3, tzinfo=UTC)),
        ("0", time(13), MONDAY, datetime(2026, 11, 23, 13, tzinfo=UTC)),
        ("6", time(3), MONDAY, datetime(2026, 11, 29, 3, tzinfo=UTC)),
        ("", time(3), MONDAY, None),
    ],
)
def test_the_next_time(project, day, at, after, expected):
    ask(project, trains_on=day, trains_at=at)
    assert next_time(project, after=after) == expected


def test_at_its_hour_a_run_starts_if_anything_is_new_and_only_once(project, annotator, base):
    ask(project, trains_on="daily", trains_at=timezone.localtime().time())
    now = timezone.now() + timedelta(minutes=5)
    assert not why_due(project, now=now)
    judge(project, annotator)
    assert why_due(project, now=now).startswith("it is ") and not why_due(project, now=now + timedelta(hours=2))
    assert not why_due(project, now=now - timedelta(hours=1))
    start_due_runs()
    assert Run.objects.count() == 1
    Run.objects.update(state="done")
    judge(project, annotator)
    start_due_runs()
    assert Run.objects.count() == 1


def test_what_is_refused_is_not_tried_at_each_tick(project, annotator, base, monkeypatch, caplog):
    from training.clock import scheduling

    ask(project, trains_after=1)
    make_judgement(project, annotator, "tie")
    asked = []
    real = scheduling.start_run
    monkeypatch.setattr(scheduling, "start_run", lambda **given: asked.append(1) or real(**given))
    start_due_runs(), start_due_runs()
    assert len(asked) == 1 and "cannot start" in caplog.text
    judge(project, annotator)
    start_due_runs()
    assert len(asked) == 2 and Run.objects.count() == 1


def test_the_project_page_says_what_happens_next_and_when(client, viewer, project, annotator, base):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    judge(project, annotator, 2)
    assert "starts by itself" not in client.get("/projects/taste/").content.decode()
    ask(project, trains_after=5, trains_on="2", trains_at=time(4, 30))
    page = client.get("/projects/taste/").content.decode()
    assert "The next run starts by itself" in page and "When 5 new judgements have come; 2 so far, or on Wednesday, " in page
    assert ", 04:30, if anything is new by then. Its version starts to serve" in page


@pytest.mark.parametrize(("field", "value"), [("trains_after", "-1"), ("trains_on", "someday"), ("trains_at", "25:00")])
def test_a_schedule_that_makes_no_sense_is_refused(client, owner, project, field, value):
    from tests.training.test_views_project import posted_settings

    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.post("/projects/taste/settings/", posted_settings(project, **{field: value}))
    assert answer.status_code == 422 and f'id="id_{field}_error"' in answer.content.decode()
