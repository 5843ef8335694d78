"""The pages of runs, and the points of their curves."""

import re
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.builders import make_project, make_version
from tests.training.rows import add_events, make_dataset, make_run, make_trained, values_at
from training.models import Generation, Run, RunEvent
from training.runs import curves
from training.runs.phases import working_seconds

LIST, URL, EVENTS = "/projects/taste/runs/", "/projects/taste/runs/1/", "/projects/taste/runs/1/events.json"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny")


@pytest.fixture
def run(project, base):
    run = make_run(project, base, log_tail="step 24/40 <b>loss</b> 0.4")
    add_events(run, steps=24)
    return run


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    return client


# -- the page ----------------------------------------------------------------------------------------------
def test_the_page_shows_state_progress_settings_and_log(as_owner, run):
    answer = as_owner.get(URL)
    page = answer.content.decode()
    assert answer.status_code == 200
    for words in ("Step 24 of 40", "60 %", "about 3 min left", "38 triples, 9 held out", "6 ties", "learning_rate", "1e-05"):
        assert words in page, words
    assert "&lt;b&gt;loss" in page and "<b>loss" not in page
    assert page.count("data-chart=") == len(curves.CHARTS)


def test_polling_gives_the_fragment_and_stops_when_it_is_over(as_owner, run):
    answer = as_owner.get(URL, headers=HTMX)
    page = answer.content.decode()
    assert answer.status_code == 200 and "<html" not in page and 'hx-trigger="every 2s"' in page
    assert 'id="run-log"' in page and "hx-swap-oob" in page and "HX-Request" in answer["Vary"]
    Run.objects.update(state="done", finished_at=timezone.now())
    answer = as_owner.get(URL, headers=HTMX)
    assert answer.status_code == 286 and "hx-trigger" not in answer.content.decode()


def test_when_it_finishes_the_whole_page_says_so(as_owner, project, base, run):
    """The row of its version is below the part that is polled, and a message of before stands above it."""
    page = as_owner.get(URL).content.decode()
    assert "?was=running" in page and 'id="run-version"' in page and 'id="messages"></div>' in page
    going_on = as_owner.get(URL, {"was": "running"}, headers=HTMX).content.decode()
    assert 'id="messages"' not in going_on and "none yet" in going_on
    make_version(project, parent=base, run=run)
    Run.objects.update(state="done", finished_at=timezone.now())
    over = as_owner.get(URL, {"was": "running"}, headers=HTMX).content.decode()
    assert '<div class="messages" id="messages" hx-swap-oob="true"></div>' in over
    assert '<dd id="run-version" hx-swap-oob="true"><a href="/projects/taste/versions/1/">v1</a></dd>' in over


def test_a_failure_says_what_happened_and_what_next(as_owner, run):
    Run.objects.update(state="failed", error="The disk is full. Free 1 GB.", finished_at=timezone.now())
    page = as_owner.get(URL).content.decode()
    assert "The disk is full. Free 1 GB." in page and "Resume goes on from the last checkpoint" in page and "/resume/" in page


def test_the_accuracy_stands_with_its_interval(as_owner, run):
    RunEvent.objects.create(run=run, line=900, kind="heldout", step=24, data={"accuracy": 0.78, "pairs": 9})
    page = as_owner.get(URL).content.decode()
    assert "78 %<small>, 45–94 %</small>" in page and "95 % interval, 9 pairs" in page


def test_a_lost_worker_is_told(as_owner, run):
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=3))
    assert "worker has not been seen for 3 min" in as_owner.get(URL).content.decode()


def test_a_run_behind_other_work_waits_its_turn_and_no_command_is_offered(as_owner, project, base, run):
    waiting = make_run(project, base, state="queued", progress=0, total=0, started_at=None, heartbeat_at=None)
    Run.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(minutes=3))
    page = as_owner.get(LIST + "2/").content.decode().split('id="curves"')[0]
    assert "The run waits its turn." in page and "notice-warn" not in page and "<code" not in page


def test_a_run_that_waits_has_a_page_too(as_owner, project, base):
    make_run(project, base, state="queued", progress=0, total=0, started_at=None, heartbeat_at=None)
    page = as_owner.get(URL).content.decode()
    assert "Waiting for a worker" in page and "warmup_steps" in page


def test_a_waiting_run_says_what_it_waits_behind_and_nothing_of_other_projects(as_owner, project, base):
    make_run(project, base, state="queued", progress=0, total=0, started_at=None, heartbeat_at=None)
    generation = Generation.objects.create(
        project=project, version=base, state="running", progress=6, total=24, heartbeat_at=timezone.now()
    )
    assert "Waiting for a worker, which is at the generation of v0 (6 of 24 pairs)" in as_owner.get(URL).content.decode()
    elsewhere = make_project()
    Generation.objects.filter(pk=generation.pk).update(project=elsewhere, version=make_version(elsewhere))
    assert "Waiting for a worker, which is at other work<" in as_owner.get(URL).content.decode()
    Generation.objects.all().delete()
    assert "Waiting for a worker<" in as_owner.get(URL).content.decode()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "Loading the model and reading the triples"),
        (["sft"], "First, fine-tuning on the chosen answers: step 3 of 9"),
        (["start", "audit", "warning"], "Computing the reference"),
        (["start", "audit", "checkpoint"], "Checking before the first step"),
        (["start", "audit", "checkpoint", "preflight"], "First evaluation, on the held-out pairs"),
        (["start", "audit", "checkpoint", "preflight", "heldout"], "At the first step"),
    ],
)
def test_before_the_first_step_the_trainer_is_not_silent(as_owner, project, base, events, words):
    run = make_run(project, base, progress=0, total=2 if "start" in events else 0)
    for line, kind in enumerate(events, start=1):
        RunEvent.objects.create(run=run, line=line, kind=kind, data={"done": 3, "of": 9, "time": time.time()})
    page = as_owner.get(URL).content.decode()
    assert f"<strong>{words}" in page and "max=" not in re.search(r"<progress[^>]*>", page)[0]


def test_after_the_last_step_and_when_it_goes_on_it_says_so(as_owner, run):
    Run.objects.update(progress=40)
    assert "Step 40 of 40 is done: evaluating and saving" in as_owner.get(URL).content.decode()
    Run.objects.update(progress=24)
    RunEvent.objects.create(run=run, line=900, kind="stopped", step=24, data={})
    assert "Loading the model and the checkpoint of step 24" in as_owner.get(URL).content.decode()


def test_working_time_leaves_out_its_pauses_and_does_not_begin_anew(project, base):
    """10 s until it was stopped, 20 s after it was killed and went on, then 5 s since: by hand."""
    now = timezone.now()
    run = make_run(project, base, started_at=now - timedelta(seconds=30))
    times = [
        ("start", -1000),
        ("step", -995),
        ("stopped", -990),
        ("resumed", -500),
        ("step", -485),
        ("resumed", -25),
        ("step", -5),
    ]
    for line, (kind, at) in enumerate(times, start=1):
        RunEvent.objects.create(run=run, line=line, kind=kind, step=1, data={"time": now.timestamp() + at})
    assert working_seconds(run) == pytest.approx(10 + 15 + 20 + 5, abs=1)
    run.state = "done"
    assert working_seconds(run) == pytest.approx(10 + 15 + 20, abs=1)
    run.state, run.started_at = "running", now - timedelta(seconds=2)  # resumed again, and the trainer is still silent
    assert working_seconds(run) == pytest.approx(10 + 15 + 20 + 2, abs=1)


def test_the_time_left_is_the_trainers_own(as_owner, run):
    RunEvent.objects.create(run=run, line=900, kind="step", step=24, data={"eta_s": 754.0})
    assert "about 13 min left" in as_owner.get(URL).content.decode()


def test_settings_are_those_the_trainer_began_with(as_owner, run):
    RunEvent.objects.create(run=run, line=1000, kind="start", data={"config": {"beta": 0.37, "model": "/secret/place"}})
    page = as_owner.get(URL).content.decode()
    assert "0.37" in page and "/secret/place" not in page


def test_what_was_asked_for_is_marked(as_owner, run):
    Run.objects.update(settings={"preset": "paper", "overrides": {"beta": 0.25}})
    page = as_owner.get(URL).content.decode()
    assert "asked for" in page and "0.25" in page and "rmsprop" in page


def test_the_settings_a_person_chooses_stand_first_and_the_others_are_folded(as_owner, run):
    Run.objects.update(settings={"preset": "small", "overrides": {"max_steps": 9}})
    first, folded = as_owner.get(URL).content.decode().split('<details class="settings-more">')
    for name in ("epochs", "learning_rate", "beta", "max_steps"):
        assert f'<span class="mono">{name}<' in first and f'<span class="mono">{name}<' not in folded, name
    assert "warmup_steps" in folded and "warmup_steps" not in first


@pytest.mark.parametrize(
    ("pairs", "events", "words"),
    [
        (0, [], "Nothing is held out"),
        (1, [], "Only 1 held-out pair."),
        (9, [], "an accuracy of 50 % stands for 23–77 %"),
        (9, [("heldout", {"accuracy": 0.78})], "an accuracy of 78 % stands for 45–94 %"),
        (50, [("heldout", {"accuracy": 0.78, "pairs": 9})], "Only 9 held-out pairs"),
        (50, [("warning", {"code": "many_dropped", "message": "9 of 20 pairs are too long."})], "9 of 20 pairs are too long."),
        (50, [("heldout", {"loss": 0.69}), ("heldout", {"loss": 0.80})], "It learns its pairs by heart"),
        (
            50,
            [("heldout", {"chosen_logp": -80, "margin": 0}), ("heldout", {"chosen_logp": -90, "margin": 2})],
            "have lost 10.0 nats",
        ),
    ],
)
def test_what_should_make_one_look_twice_is_said(as_owner, project, base, pairs, events, words):
    run = make_run(project, base, dataset=make_dataset(project, heldout_count=pairs))
    events = [("step", values_at(1)), *events, ("step", values_at(9))]
    for line, (kind, data) in enumerate(events, start=1):
        RunEvent.objects.create(run=run, line=line, kind=kind, step=line, data=data)
    assert words in as_owner.get(URL).content.decode()


@pytest.mark.parametrize(("dtype", "words"), [("float32", "only 40 % of what was trained"), ("bfloat16", "The trainer warns")])
def test_that_bfloat16_would_lose_the_signal_matters_only_where_it_serves_in_it(as_owner, project, base, dtype, words):
    version = make_trained(project, base, serve_dtype=dtype, metrics={"kept_in_bfloat16": 0.4})
    data = {"code": "bfloat16_loses_signal", "message": "served in bfloat16 the model would keep 40% of what was trained."}
    RunEvent.objects.create(run=version.run, line=1, kind="warning", data=data)
    page = as_owner.get(URL).content.decode().split('id="curves"')[0]
    assert words in page and ("notice-warn" in page) == (dtype == "bfloat16")


def test_a_healthy_run_has_no_warning(as_owner, project, base):
    add_events(make_run(project, base, dataset=make_dataset(project, heldout_count=60)))
    assert "notice-warn" not in as_owner.get(URL).content.decode().split('id="curves"')[0]


def test_the_list_shows_runs_and_says_so_when_there_is_none(as_owner, project, base):
    assert "No run yet" in as_owner.get(LIST).content.decode()
    make_trained(project, base)
    page = as_owner.get(LIST).content.decode()
    assert "Run 1" in page and "v1" in page
    assert as_owner.get(LIST, {"page": "nonsense"}).status_code == 200


# -- the curves' points ------------------------------------------------------------------------------------
def test_points_come_once_and_in_order(as_owner, run):
    news = as_owner.get(EVENTS, {"after": 0}).json()
    assert (news["over"], news["more"], news["again"]) == (False, False, False)
    assert len(news["points"]) == 24 + 5 and news["line"] == 29
    assert as_owner.get(EVENTS, {"after": news["line"]}).json()["points"] == []
    RunEvent.objects.create(run=run, line=30, kind="step", step=25, data={"loss": 0.1})
    assert as_owner.get(EVENTS, {"after": 29}).json()["points"] == [{"kind": "step", "step": 25, "loss": 0.1}]


def test_points_hold_what_the_charts_need_and_nothing_else(as_owner, project, base):
    run = make_run(project, base)
    RunEvent.objects.create(run=run, line=1, kind="start", data={"config": {"model": "/secret"}})
    RunEvent.objects.create(run=run, line=2, kind="step", step=1, data={"loss": None, "margin": 0.5, "path": "/secret"})
    assert as_owner.get(EVENTS).json()["points"] == [{"kind": "step", "step": 1, "margin": 0.5}]


def test_many_points_come_in_parts(as_owner, run, monkeypatch):
    monkeypatch.setattr(curves, "PAGE", 10)
    Run.objects.update(state="done")
    first = as_owner.get(EVENTS).json()
    assert len(first["points"]) == 10 and first["more"] and not first["over"]
    last = as_owner.get(EVENTS, {"after": 20}).json()
    assert len(last["points"]) == 9 and not last["more"] and last["over"]


def test_a_run_that_went_back_to_a_checkpoint_is_told_anew(as_owner, run):
    run.events.filter(line__gt=10).delete()
    news = as_owner.get(EVENTS, {"after": 29}).json()
    assert news["again"] and len(news["points"]) == 10


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "99999999999999999999"])
def test_a_bad_line_is_refused(as_owner, run, after):
    answer = as_owner.get(EVENTS, {"after": after})
    assert answer.status_code == 400 and answer.json()["fields"]["after"]


# -- cancel and resume -------------------------------------------------------------------------------------
def test_cancel_asks_the_worker_and_resume_queues_again(as_owner, run):
    assert as_owner.post(URL + "cancel/").url == URL
    run.refresh_from_db()
    assert run.cancel_requested
    page = as_owner.get(URL).content.decode()
    assert "Stopping after this step" in page and 'badge-beside">Stopping<' in page and ">Running<" not in page
    Run.objects.update(state="cancelled")
    assert as_owner.post(URL + "resume/").url == URL
    run.refresh_from_db()
    assert run.state == "queued"


def test_what_is_over_cannot_be_cancelled_nor_a_finished_run_resumed(as_owner, run):
    Run.objects.update(state="done")
    assert "was over already" in as_owner.post(URL + "cancel/", follow=True).content.decode()
    assert "nothing to resume" in as_owner.post(URL + "resume/", follow=True).content.decode()


# -- who ---------------------------------------------------------------------------------------------------
def test_an_annotator_may_not_look(client, annotator, run):
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    assert [client.get(url).status_code for url in (LIST, URL, EVENTS)] == [403, 403, 403]


def test_a_viewer_looks_and_does_nothing(client, viewer, run):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    assert [client.get(url).status_code for url in (LIST, URL, EVENTS)] == [200, 200, 200]
    assert [client.post(URL + what).status_code for what in ("cancel/", "resume/")] == [403, 403]
    assert "Cancel</button>" not in client.get(URL).content.decode()


def test_a_stranger_finds_nothing(client, stranger, run):
    client.force_login(stranger, "django.contrib.auth.backends.ModelBackend")
    assert [client.get(url).status_code for url in (LIST, URL, EVENTS)] == [404, 404, 404]
    assert client.post(URL + "cancel/").status_code == 404


def test_bad_numbers_and_wrong_methods(as_owner, run):
    assert as_owner.get("/projects/taste/runs/99/").status_code == 404
    assert as_owner.get("/projects/taste/runs/99999999999999999999999/").status_code == 404
    assert as_owner.post("/projects/taste/runs/99/cancel/").status_code == 404
    assert as_owner.get(URL + "cancel/").status_code == 405
    assert as_owner.post(URL).status_code == 405
