"""However a job's work ends, its row says so, and nobody is left waiting."""

import pytest

from tests import builders
from training.models import Generation
from training.models.job import JobState
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through
from training.worker.stopping import Interrupted, Postponed, Stopped, WorkFailed


@pytest.fixture
def generation(project) -> Generation:
    return Generation.objects.create(project=project, version=builders.make_version(project, serving=True))


def ended(generation: Generation, raised: BaseException, advice: str = "") -> Generation:
    def work(job: Generation) -> None:
        assert job.state == JobState.RUNNING
        raise raised

    see_through(kind=Generation, pk=generation.pk, work=work, advice=advice)
    generation.refresh_from_db()
    return generation


@pytest.mark.parametrize(
    "raised, state", [(Interrupted(), "cancelled"), (Postponed(), "queued"), (Stopped(), "queued"), (WorkFailed("No."), "failed")]
)
def test_each_end_has_its_state(generation, raised, state) -> None:
    assert ended(generation, raised).state == state and generation.claim is None
    assert generation.error == str(raised)


def test_work_that_failed_is_told_as_it_said_it_and_all_else_with_advice(generation) -> None:
    error = ended(generation, ZeroDivisionError("by zero"), advice="Try again.").error
    assert error == "ZeroDivisionError: by zero. The worker's log has the details. Try again."


def test_a_worker_that_is_stopped_at_once_gives_the_job_back(generation) -> None:
    with pytest.raises(KeyboardInterrupt):
        ended(generation, KeyboardInterrupt())
    generation.refresh_from_db()
    assert generation.state == JobState.QUEUED


@pytest.mark.parametrize("raised", [None, Interrupted(), WorkFailed("No."), ValueError(), SystemExit()])
def test_a_worker_whose_claim_is_lost_writes_nothing(generation, raised) -> None:
    def work(job: Generation) -> None:
        Generation.objects.update(state=JobState.QUEUED, claim=None)
        assert jobs.claim(kind=Generation, pk=generation.pk)  # by another worker
        if raised:
            raise raised
        jobs.finish(job=job)

    if isinstance(raised, SystemExit):
        with pytest.raises(SystemExit):
            see_through(kind=Generation, pk=generation.pk, work=work)
    else:
        see_through(kind=Generation, pk=generation.pk, work=work)
    generation.refresh_from_db()
    assert generation.state == JobState.RUNNING and generation.error == "" and generation.claim


def test_what_is_not_queued_is_left_alone(generation) -> None:
    Generation.objects.update(state=JobState.DONE)
    see_through(kind=Generation, pk=generation.pk, work=lambda job: pytest.fail("it was worked on"))


def test_a_pulse_shows_life_and_hears_of_a_cancellation(generation, settings) -> None:
    job = jobs.claim(kind=Generation, pk=generation.pk)
    checked: list[int] = []
    settings.HEARTBEAT_SECONDS = 0
    pulse = Pulse(job, lambda: checked.append(1))
    before = job.heartbeat_at
    pulse()
    assert checked and job.heartbeat_at > before
    jobs.request_cancel(job=generation)
    with pytest.raises(Interrupted):
        pulse()
