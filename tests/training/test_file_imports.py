"""Uploads that a worker brings in: seen through, cancelled, killed on the way; never in half."""

import gzip
import json
import signal
from functools import partial

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotate.data import batches
from annotate.data.uploads import find_upload, keep_upload
from annotate.formats import files
from annotate.models import Comparison, Completion, Judgement, PreferenceImport, Prompt
from tests.collecting.test_imports import row, stream_of
from tests.training.workers import wait_for, worker
from training.clock import automation
from training.imports import bringing_in, ordering
from training.models import FileImport
from training.models.job import JobState
from training.worker import jobs
from training.worker.stopping import Stopped

ROWS = 40
PLAIN = {"format": "", "names": {}, "split": "", "single": False, "judge_again": False}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch, var_dir):
    """Every upload is a large one, read in small pieces, and a transaction has four rows."""
    monkeypatch.setattr(files, "CHUNK", 400)
    monkeypatch.setattr(ordering, "AT_ONCE", 0)
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 4)


@pytest.fixture
def ordered(project, manager):
    def order(content: bytes, **asked) -> FileImport:
        upload = keep_upload(project=project, file=SimpleUploadedFile("others.jsonl", content))
        return ordering.order_import(project=project, upload=upload, by=manager, **PLAIN | asked)

    return order


def content(count: int = ROWS, *extra) -> bytes:
    return stream_of(*(row(n) for n in range(count)), *extra).getvalue()


def state_of(job: FileImport) -> str:
    job.refresh_from_db()
    return job.state


def nothing_is_in() -> bool:
    kinds = (Judgement, Comparison, Completion, Prompt, PreferenceImport)
    return not any(kind.objects.exists() for kind in kinds)


def test_a_large_file_is_previewed_at_once_and_a_worker_brings_it_in(client, manager, project) -> None:
    client.force_login(manager)
    page = partial(reverse, args=[project.slug])
    file = SimpleUploadedFile("others.jsonl.gz", gzip.compress(content(ROWS, "{nonsense")))
    preview = client.get(client.post(page("data_upload"), {"file": file}).url)
    assert "A1" in preview.content.decode() and nothing_is_in()
    given = {"upload": preview.context["upload"].id, "format": "judgements"}
    answer = client.post(page("data_import"), given)
    assert answer.url == client.post(page("data_import"), given).url, "asked for twice, it is one import"
    job = FileImport.objects.get()
    shown = client.get(answer.url).content.decode()
    assert "Waiting for a worker" in shown and 'hx-trigger="every 2s"' in shown and nothing_is_in()
    assert "others.jsonl.gz" in client.get(page("data")).content.decode()
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.DONE and (job.rows, job.progress) == (ROWS + 1, job.total)
    assert (job.batch.judgements, job.batch.refused) == (ROWS, 1)
    fragment = client.get(answer.url, headers={"HX-Request": "true"})
    assert fragment.status_code == 286 and "which rows, and why" in fragment.content.decode()
    report = b"".join(client.get(reverse("data_refused", args=[project.slug, 1])).streaming_content)
    assert json.loads(report)["line"] == ROWS + 1
    assert find_upload(project=project, id=job.upload) is None


def test_it_goes_on_where_it_was_stopped(ordered) -> None:
    bad = ["{nonsense" if n % 3 else row(n, outcome="left") for n in range(12)]
    job = ordered(content(ROWS, *bad))
    for rounds in range(30):
        looks = iter(range(10 + 5 * rounds))

        def check(looks=looks) -> None:
            if next(looks, None) is None:
                raise Stopped

        bringing_in.run_import(job.pk, check=check)
        if state_of(job) == JobState.DONE:
            break
        assert job.state == JobState.QUEUED
        if job.batch:
            assert job.batch.judgements == min(job.rows, ROWS) == Judgement.objects.count()
    assert rounds > 3
    assert (job.state, job.batch.judgements, job.batch.known, job.batch.refused) == (JobState.DONE, ROWS, 0, 12)
    lines = [json.loads(line)["line"] for line in bringing_in.refusals_of(job.batch).read_text().splitlines()]
    assert lines == list(range(ROWS + 1, ROWS + 13)), "each refused row is reported once"


def killed_after(rows: int, monkeypatch, job: FileImport) -> None:
    """As a worker that dies in the middle of a transaction: the job still says that it runs."""

    class Dead(BaseException):
        pass

    def die(*, job: FileImport, **fields) -> bool:
        if fields.get("rows", 0) > rows:
            raise Dead
        return heartbeat(job=job, **fields)

    heartbeat = jobs.heartbeat
    with monkeypatch.context() as there:
        there.setattr(jobs, "heartbeat", die)
        there.setattr(jobs, "release", lambda job: None)
        with pytest.raises(Dead):
            bringing_in.run_import(job.pk)
    FileImport.objects.update(heartbeat_at="2020-01-01T00:00Z")


def test_a_worker_that_dies_within_a_transaction_leaves_whole_ones(ordered, monkeypatch) -> None:
    job = ordered(content(ROWS, "{nonsense", "{nonsense"))
    killed_after(20, monkeypatch, job)
    assert (state_of(job), job.rows, Judgement.objects.count()) == (JobState.RUNNING, 20, 20)
    automation.take_up_stale_jobs()
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.DONE and (job.batch.judgements, job.batch.known, job.batch.refused) == (ROWS, 0, 2)
    assert PreferenceImport.objects.count() == 1 and Comparison.objects.count() == ROWS


def test_cancelled_while_it_waits_while_it_runs_and_after_its_worker_died(ordered, monkeypatch, project) -> None:
    waiting = ordered(content())
    assert ordering.cancel_import(job=waiting) and state_of(waiting) == JobState.CANCELLED
    running = ordered(content())
    counted = iter(range(6))
    see = jobs.heartbeat
    monkeypatch.setattr(jobs, "heartbeat", lambda *, job, **fields: see(job=job, **fields) or next(counted, None) is None)
    bringing_in.run_import(running.pk)
    assert state_of(running) == JobState.CANCELLED and nothing_is_in()
    assert find_upload(project=project, id=running.upload) is None
    monkeypatch.setattr(jobs, "heartbeat", see)
    dead = ordered(content())
    killed_after(20, monkeypatch, dead)
    assert ordering.cancel_import(job=dead)
    automation.take_up_stale_jobs()
    assert state_of(dead) == JobState.QUEUED, "what is in is still to be taken out"
    bringing_in.run_import(dead.pk)
    assert state_of(dead) == JobState.CANCELLED and nothing_is_in()
    assert not ordering.cancel_import(job=dead)


def test_cancelled_between_two_workers(ordered) -> None:
    job = ordered(content())
    looks = iter(range(25))

    def check() -> None:
        if next(looks, None) is None:
            raise Stopped

    bringing_in.run_import(job.pk, check=check)
    assert state_of(job) == JobState.QUEUED and 0 < job.rows < ROWS
    assert ordering.cancel_import(job=job)
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.CANCELLED and nothing_is_in()


def test_a_file_that_breaks_off_leaves_nothing_and_says_why(ordered, client, manager, project) -> None:
    array = b"[" + b",".join(json.dumps(row(n)).encode() for n in range(ROWS))  # whole so far, and without an end
    job = ordered(array)
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.FAILED and "no end" in job.error and nothing_is_in()
    client.force_login(manager)
    shown = client.get(reverse("file_import", args=[project.slug, job.upload])).content.decode()
    assert "no end" in shown and "Nothing of it is in." in shown


def test_what_fails_otherwise_goes_on_when_the_cause_is_gone(ordered, monkeypatch, client, manager, project) -> None:
    job = ordered(content())

    def full(self, number: int) -> None:
        if self.came >= 20:
            raise OSError(28, "No space left on device")
        return note(self, number)

    note = bringing_in._Importing.note_rows
    monkeypatch.setattr(bringing_in._Importing, "note_rows", full)
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.FAILED and "No space left" in job.error and job.batch.judgements == 20
    monkeypatch.setattr(bringing_in._Importing, "note_rows", note)
    client.force_login(manager)
    client.post(reverse("file_import_go_on", args=[project.slug, job.upload]))
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.DONE and (job.batch.judgements, job.batch.known) == (ROWS, 0)


def test_what_is_coming_in_is_not_undone_beside_it(ordered, client, manager, project, monkeypatch) -> None:
    job = ordered(content())
    killed_after(20, monkeypatch, job)
    client.force_login(manager)
    answer = client.post(reverse("data_undo", args=[project.slug, 1]), follow=True)
    assert "still coming in" in answer.content.decode() and Judgement.objects.count() == 20


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_loses_and_doubles_nothing(ordered, settings) -> None:
    count = 6000
    job = ordered(content(count, "{nonsense"))
    first = worker()
    wait_for(lambda: state_of(job) == JobState.RUNNING and job.rows > 0)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert state_of(job) == JobState.RUNNING and 0 < job.rows < count
    assert job.batch.judgements == Judgement.objects.count() == job.rows
    settings.STALE_SECONDS = 0
    automation.take_up_stale_jobs()
    settings.STALE_SECONDS = 60
    second = worker()
    wait_for(lambda: automation.enqueue_waiting_jobs() or state_of(job) == JobState.DONE)
    second.terminate()
    second.wait(10)
    job.batch.refresh_from_db()
    assert (job.batch.judgements, job.batch.known, job.batch.refused) == (count, 0, 1)
    assert Judgement.objects.count() == Comparison.objects.count() == Prompt.objects.count() == count
    assert len(bringing_in.refusals_of(job.batch).read_text().splitlines()) == 1


# -- prompts -------------------------------------------------------------------------------------------------


def lines_of(count: int) -> bytes:
    return b"prompt,tags\n" + b"".join(b"Question %d?,t\n" % number for number in range(count)) + b",t\n"


def upload_prompts(client, manager, project, content: bytes) -> FileImport:
    client.force_login(manager)
    given = {"prompts": SimpleUploadedFile("many.csv", content), "system": "Be brief."}
    answer = client.post(reverse("data_prompts", args=[project.slug]), given)
    job = FileImport.objects.get()
    assert answer.url == reverse("file_import", args=[project.slug, job.upload]) and nothing_is_in()
    return job


def test_a_large_file_of_prompts_is_a_workers_and_can_be_undone(client, manager, project) -> None:
    job = upload_prompts(client, manager, project, lines_of(ROWS))
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.DONE and (job.rows, job.progress) == (ROWS + 1, job.total)
    assert (job.batch.format, job.batch.prompts, job.batch.known, job.batch.refused) == ("prompts", ROWS, 0, 1)
    prompt = Prompt.objects.first()
    assert (prompt.messages[0]["content"], prompt.tags, prompt.source) == ("Be brief.", ["t"], "many.csv")
    assert "many.csv" in client.get(reverse("data", args=[project.slug])).content.decode()
    report = b"".join(client.get(reverse("data_refused", args=[project.slug, 1])).streaming_content)
    assert json.loads(report)["line"] == ROWS + 2
    undone = client.post(reverse("data_undo", args=[project.slug, 1]), follow=True).content.decode()
    assert f"{ROWS} prompts taken out" in undone and not Prompt.objects.exists()


def test_prompts_go_on_after_the_last_that_is_in_and_cancelled_ones_are_out_again(client, manager, project) -> None:
    job = upload_prompts(client, manager, project, lines_of(ROWS))

    def stop() -> None:
        if Prompt.objects.count() >= 12:
            raise Stopped

    bringing_in.run_import(job.pk, check=stop)
    assert state_of(job) == JobState.QUEUED and 12 <= Prompt.objects.count() < ROWS
    FileImport.objects.update(cancel_requested=True)
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.CANCELLED and nothing_is_in()


def test_a_blank_file_of_prompts_leaves_nothing_and_says_so(client, manager, project) -> None:
    job = upload_prompts(client, manager, project, b"\n" * 100)
    bringing_in.run_import(job.pk)
    assert state_of(job) == JobState.FAILED and "There is no row in the file" in job.error and nothing_is_in()
