"""The samples on a run's page: the trainer's own events, start beside newest."""

import pytest

from tests.training.rows import add_samples, make_run
from training.runs.samples import samples_of_run

URL = "/projects/taste/runs/1/"


@pytest.fixture
def run(project, base):
    return make_run(project, base)


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    return client


def test_start_newest_and_what_lies_between(run):
    assert samples_of_run(run) == []
    add_samples(run, 901, 0, "Yes it is…", "No.")
    [one, two] = samples_of_run(run)
    assert (one.prompt, one.newest, one.between) == ("Question 1?", None, [])
    add_samples(run, 905, 12, "Maybe.", "No.")
    add_samples(run, 909, 24, "Yes it may.", "No.")
    [one, two] = samples_of_run(run)
    assert (one.first.step, one.newest.step, [answer.text for answer in one.between]) == (0, 24, ["Maybe."])
    assert [part.text for part in one.newest.parts if part.differs] == ["may."]
    assert two.same and not one.same and not one.first.ended


def test_the_page_shows_them_and_nothing_runs(as_owner, run):
    page = as_owner.get(URL).content.decode()
    assert 'id="samples"' not in page
    add_samples(run, 901, 0, "<script>alert(1)</script>", "No.")
    assert "The next answers come half-way." in as_owner.get(URL).content.decode()
    assert "in the precision of the training" in as_owner.get(URL).content.decode()
    add_samples(run, 909, 24, "Better & better", "No.")
    page = as_owner.get(URL).content.decode()
    assert "<script>alert" not in page and "&lt;" in page and "Question 1?" in page and "Step 24" in page
    assert "The same answer from step 0 to step 24: “No.”" in page
