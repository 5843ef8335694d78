"""Who works on a job, and what becomes of it when they do not."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from tests import builders
from training.models import Generation
from training.models.job import JobState
from training.worker import jobs


@pytest.fixture
def generation(project) -> Generation:
    return Generation.objects.create(project=project, version=builders.make_version(project, serving=True))


def silence(job, seconds: float) -> None:
    type(job).objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(seconds=seconds))


def test_a_job_is_claimed_once(generation) -> None:
    mine = jobs.claim(kind=Generation, pk=generation.pk)
    assert mine.state == JobState.RUNNING and mine.claim and mine.started_at and mine.heartbeat_at
    assert jobs.claim(kind=Generation, pk=generation.pk) is None


@pytest.mark.parametrize("state", ["done", "cancelled", "failed"])
def test_a_job_that_is_over_is_not_claimed(generation, state) -> None:
    Generation.objects.update(state=state)
    assert jobs.claim(kind=Generation, pk=generation.pk) is None


def test_a_heartbeat_stores_progress_and_tells_of_a_cancellation(generation) -> None:
    mine = jobs.claim(kind=Generation, pk=generation.pk)
    assert jobs.heartbeat(job=mine, progress=3) is False
    assert jobs.request_cancel(job=generation)
    assert jobs.heartbeat(job=mine) is True
    generation.refresh_from_db()
    assert (generation.progress, generation.state) == (3, JobState.RUNNING)
    jobs.cancelled(job=mine)
    generation.refresh_from_db()
    assert generation.state == JobState.CANCELLED and generation.finished_at and generation.claim is None


def test_a_queued_job_is_cancelled_at_once_and_a_finished_one_never(generation) -> None:
    assert jobs.request_cancel(job=generation)
    assert generation.state == JobState.CANCELLED
    assert not jobs.request_cancel(job=generation)
    assert jobs.queue_again(job=generation) and generation.state == JobState.QUEUED and not generation.cancel_requested
    jobs.finish(job=jobs.claim(kind=Generation, pk=generation.pk))
    assert not jobs.request_cancel(job=generation) and not jobs.queue_again(job=generation)


def test_only_a_silent_job_is_taken_from_its_worker(generation) -> None:
    mine = jobs.claim(kind=Generation, pk=generation.pk)
    silence(mine, settings.STALE_SECONDS - 5)
    assert jobs.requeue_stale() == []
    silence(mine, settings.STALE_SECONDS + 5)
    assert jobs.requeue_stale() == [generation]
    generation.refresh_from_db()
    assert (generation.state, generation.claim) == (JobState.QUEUED, None)


def test_the_time_left_is_told_by_the_pace_of_the_worker_that_is_at_it(generation) -> None:
    """Neither the pause before a resume nor what was done before it counts."""

    def claimed(seconds_ago: float) -> Generation:
        jobs.claim(kind=Generation, pk=generation.pk)
        Generation.objects.update(claimed_at=timezone.now() - timedelta(seconds=seconds_ago))
        return Generation.objects.get()

    mine = claimed(seconds_ago=10)
    assert mine.eta_seconds is None
    jobs.heartbeat(job=mine, progress=5, total=20)
    assert mine.eta_seconds == pytest.approx(30, abs=1)
    jobs.release(job=mine)
    Generation.objects.update(started_at=timezone.now() - timedelta(hours=9))
    mine = claimed(seconds_ago=4)
    assert mine.eta_seconds is None and mine.progress_at_claim == 5
    jobs.heartbeat(job=mine, progress=7)
    assert mine.eta_seconds == pytest.approx(26, abs=1)
    jobs.cancelled(job=mine)
    assert mine.eta_seconds is None and jobs.queue_again(job=mine)
    mine = claimed(seconds_ago=6)
    jobs.heartbeat(job=mine, progress=10)
    assert mine.eta_seconds == pytest.approx(20, abs=1)


@pytest.mark.parametrize("write", [jobs.heartbeat, jobs.finish, jobs.cancelled, jobs.release])
def test_a_worker_that_was_thought_dead_writes_nothing(generation, write) -> None:
    old = jobs.claim(kind=Generation, pk=generation.pk)
    silence(old, settings.STALE_SECONDS + 5)
    jobs.requeue_stale()
    with pytest.raises(jobs.LostClaim):
        write(job=old)
    new = jobs.claim(kind=Generation, pk=generation.pk)
    with pytest.raises(jobs.LostClaim):
        write(job=old)
    with pytest.raises(jobs.LostClaim):
        jobs.fail(job=old, error="gone")
    jobs.finish(job=new)
    generation.refresh_from_db()
    assert generation.state == JobState.DONE and generation.error == ""


def test_a_silent_job_that_somebody_cancelled_is_over(generation) -> None:
    mine = jobs.claim(kind=Generation, pk=generation.pk)
    jobs.request_cancel(job=mine)
    silence(mine, settings.STALE_SECONDS + 5)
    assert jobs.requeue_stale() == []
    generation.refresh_from_db()
    assert generation.state == JobState.CANCELLED
