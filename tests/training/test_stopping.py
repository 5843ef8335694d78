"""A job hears of the end of its worker, and so does whoever listened before."""

import os
import signal

import pytest

from annotate.models.prompt import Split
from tests import builders
from training import tasks
from training.worker.stopping import Stopped, stoppable


@pytest.fixture
def heard():
    """Stands for the worker's own handler."""
    signals = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_after_a_signal_the_check_raises(heard) -> None:
    own = signal.getsignal(signal.SIGTERM)
    with stoppable() as check:
        check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            check()
    assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) == own


def test_a_description_shows_that_it_lives_and_still_hears_of_its_end(project, settings, monkeypatch) -> None:
    from training.versions.description import showing_life

    version = builders.make_version(project)
    told: list[bool] = []

    def check() -> None:
        told.append(True)
        if len(told) > 3:
            raise Stopped

    alive = showing_life(version, check)
    alive()
    version.refresh_from_db()
    first = version.describing_at
    alive()
    version.refresh_from_db()
    assert first and version.describing_at == first  # not at each token
    settings.HEARTBEAT_SECONDS = 0
    alive()
    version.refresh_from_db()
    assert version.describing_at > first
    with pytest.raises(Stopped):
        alive()


@pytest.mark.torch
def test_a_description_that_is_stopped_leaves_the_version_undescribed(base, heard, monkeypatch) -> None:
    from training.versions import description

    def sample(*args, before_each, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        before_each()

    monkeypatch.setattr(description, "sample", sample)
    builders.make_prompt(base.project, split=Split.HELDOUT)
    tasks.describe_version.call(base.pk)
    base.refresh_from_db()
    assert heard and "described_at" not in base.metrics
