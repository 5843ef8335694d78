"""Several runs in one picture, curves as files, long runs thinned for the picture, and the warnings that need numbers."""

import csv
import io
import json

import pytest
from django.utils import timezone

from tests.builders import make_project, make_version
from tests.training.rows import add_events, make_dataset, make_run, make_trained, values_at
from training.models import RunEvent
from training.runs import curves
from training.runs.curve_files import write_tensorboard

RUNS, COMPARE = "/projects/taste/runs/", "/projects/taste/runs/compare/"


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny")


@pytest.fixture
def as_viewer(client, viewer):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    return client


def add_steps(run, steps: int, heldout_every: int = 0) -> None:
    kinds = [("step", step) for step in range(1, steps + 1)]
    kinds += [("heldout", step) for step in range(0, steps + 1, heldout_every)] if heldout_every else []
    RunEvent.objects.bulk_create(
        RunEvent(run=run, line=line, kind=kind, step=step, data={"loss": 1 / (1 + step), "time": 1000.0 + step})
        for line, (kind, step) in enumerate(sorted(kinds, key=lambda each: each[1]), start=1)
    )


# -- compare -----------------------------------------------------------------------------------------------
def test_runs_share_a_chart_and_only_what_differs_is_listed(as_viewer, project, base):
    dataset = make_dataset(project)
    for settings in ({"beta": 0.1}, {"beta": 0.4}):
        make_run(project, base, dataset=dataset, settings={"preset": "small", "overrides": settings | {"seed": 3}})
    page = as_viewer.get(COMPARE, {"run": ["1", "2"]}).content.decode()
    assert '<th scope="row">beta</th><td>0.1</td><td>0.4</td>' in page
    assert ">seed<" not in page and ">Dataset<" not in page and "Loss, held out" in page
    assert page.count("curve-key-run-2") == sum(len(chart.series) for chart in curves.CHARTS)
    assert "/runs/1/events.json" in page and "/runs/2/events.json" in page


def test_runs_that_were_asked_for_alike_are_said_to_be(as_viewer, project, base):
    dataset = make_dataset(project)
    make_run(project, base, dataset=dataset), make_run(project, base, dataset=dataset)
    assert "They were asked for alike" in as_viewer.get(COMPARE, {"run": ["1", "2"]}).content.decode()


@pytest.mark.parametrize("asked", [{}, {"run": "1"}, {"run": ["1", "x", "99999999999999", "7"]}])
def test_fewer_than_two_runs_lead_back_to_the_table(as_viewer, project, base, asked):
    make_run(project, base)
    answer = as_viewer.get(COMPARE, asked, follow=True)
    assert answer.redirect_chain == [(RUNS, 302)] and "Choose two to 12 runs" in answer.content.decode()


def test_a_run_of_another_project_is_not_compared(as_viewer, project, base):
    make_run(project, base)
    other = make_project()
    make_run(other, make_version(other)), make_run(other, make_version(other))
    assert as_viewer.get(COMPARE, {"run": ["1", "2"]}).status_code == 302


# -- thinned, never lost -----------------------------------------------------------------------------------
def test_a_long_run_is_thinned_for_the_picture_and_goes_on_point_by_point(as_viewer, project, base, monkeypatch):
    monkeypatch.setattr(curves, "DRAWN", 10)
    run = make_run(project, base)
    add_steps(run, 95, heldout_every=20)
    news = as_viewer.get(RUNS + "1/events.json").json()
    steps = [point["step"] for point in news["points"] if point["kind"] == "step"]
    assert news["every"] == 10 and steps == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95] and news["line"] == 100
    assert [point["step"] for point in news["points"] if point["kind"] == "heldout"] == [0, 20, 40, 60, 80]
    RunEvent.objects.create(run=run, line=101, kind="step", step=96, data={"loss": 0.5})
    assert as_viewer.get(RUNS + "1/events.json", {"after": 100}).json()["points"] == [{"kind": "step", "step": 96, "loss": 0.5}]
    assert len(list(curves.rows_of(run))) == 101


def test_csv_and_json_hold_every_point(as_viewer, project, base):
    run = make_run(project, base)
    add_events(run, steps=24)
    answer = as_viewer.get(RUNS + "1/curves.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert len(rows) == 24 + 5 and answer["Content-Disposition"] == 'attachment; filename="taste-run-1.csv"'
    assert float(next(row for row in rows if row["kind"] == "step" and row["step"] == "7")["loss"]) == values_at(7)["loss"]
    told = json.loads(b"".join(as_viewer.get(RUNS + "1/curves.json").streaming_content))
    assert len(told) == 29 and told[2] == {"kind": "step", "step": 2} | {
        k: v for k, v in told[2].items() if k not in ("kind", "step")
    }
    assert as_viewer.get(RUNS + "1/curves.xml").status_code == 404
    make_run(project, base)
    assert json.loads(b"".join(as_viewer.get(RUNS + "2/curves.json").streaming_content)) == []


def test_tensorboard_reads_what_the_run_said(project, base, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    run = make_run(project, base)
    add_steps(run, 3, heldout_every=3)
    for _ in range(2):  # again: in place of what was there
        write_tensorboard(run=run, directory=tmp_path / "runs")
    [file] = (tmp_path / "runs").iterdir()
    told, data = [], file.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        told += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    assert ("train/loss", 2, pytest.approx(1 / 3)) in told and ("heldout/loss", 0, 1.0) in told and len(told) == 5


# -- warnings ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"margin": 16.0}, "ahead by 16.0 nats of implicit reward"),
        ({"margin": 14.0}, ""),
        ({"accuracy": 0.3, "pairs": 60}, "It does worse than chance"),
        ({"accuracy": 0.3, "pairs": 10}, ""),  # 11 to 60 %: it may be chance
        ({"accuracy": 0.7, "pairs": 60}, ""),
    ],
)
def test_numbers_that_went_wrong_are_told_in_words(as_viewer, project, base, last, words):
    run = make_run(project, base, dataset=make_dataset(project, heldout_count=60))
    RunEvent.objects.create(run=run, line=1, kind="heldout", step=9, data=last)
    page = as_viewer.get(RUNS + "1/").content.decode().split('id="curves"')[0]
    assert words in page if words else "notice-warn" not in page


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"mean_tokens": 40.0}, "Its answers are much longer"),
        ({"ended_share": 0.4}, "Fewer answers come to an end by themselves"),
    ],
)
def test_what_shows_only_in_what_the_version_writes_stands_at_the_run_too(as_viewer, project, base, metrics, words):
    base.metrics = {"mean_tokens": 20.0, "ended_share": 0.9}
    base.save()
    made = make_trained(project, base, metrics=metrics)
    assert made.run.finished_at < timezone.now() and words in as_viewer.get(RUNS + "1/").content.decode()


def test_a_manager_may_start_one_like_it_and_a_viewer_may_not(client, as_viewer, manager, project, base):
    make_run(project, base)
    assert "?like=1" not in as_viewer.get(RUNS + "1/").content.decode()
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert '/projects/taste/train/?like=1"' in client.get(RUNS + "1/").content.decode()
