"""What a generation is left as when its worker is stopped or killed, and that another goes on with it."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from annotate.models import Comparison, Completion
from tests import builders
from tests.training.workers import wait_for, worker
from training.clock import automation
from training.models import Generation, Version
from training.models.job import JobState

pytestmark = [pytest.mark.torch, pytest.mark.django_db(transaction=True)]
PAIRS = 10


@pytest.fixture
def generation(project, base) -> Generation:
    """Of two pairs, then of eight that take seconds."""
    project.queue_low, project.queue_high, project.max_new_tokens = PAIRS - 1, PAIRS, 450
    project.save()
    base.metrics = {"described_at": "today"}
    base.save()
    for _ in range(PAIRS + 2):
        builders.make_prompt(project)
    return automation.start_generation(project)


def state_of(generation: Generation) -> str:
    generation.refresh_from_db()
    return generation.state


def every_pair_is_there_once(version: Version) -> bool:
    prompts = Comparison.objects.filter(first__version=version, second__version=version).values_list("prompt", flat=True)
    return len(prompts) == len(set(prompts)) == PAIRS and Completion.objects.count() == 2 * PAIRS


def ends_well(generation: Generation) -> bool:
    automation.tick()  # a task for a job that was put back
    return state_of(generation) == JobState.DONE


def test_a_worker_that_is_told_to_end_gives_its_generation_back_at_once(base, generation) -> None:
    first = worker()
    wait_for(lambda: Comparison.objects.count() == 2)
    first.terminate()
    assert first.wait(60) == 0  # in the middle of the next batch: it is not there
    assert state_of(generation) == JobState.QUEUED and generation.progress == Comparison.objects.count() == 2

    second = worker()
    wait_for(lambda: ends_well(generation))
    second.terminate()
    second.wait(10)
    assert generation.progress == PAIRS and every_pair_is_there_once(base)


def test_a_generation_whose_worker_was_killed_is_taken_up_and_no_pair_is_written_twice(base, generation) -> None:
    first = worker()
    wait_for(lambda: Comparison.objects.count() == 2)
    first.kill()
    first.wait()
    assert state_of(generation) == JobState.RUNNING and Completion.objects.count() == 4
    Generation.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=settings.STALE_SECONDS + 1))
    automation.tick()
    assert state_of(generation) == JobState.QUEUED

    second, third = worker(), worker()
    wait_for(lambda: ends_well(generation))
    for process in (second, third):
        process.terminate()
        process.wait(10)
    assert generation.progress == PAIRS and every_pair_is_there_once(base)
