"""A project with too many judgements for a page to count: what is about right gives way to the count once the page is there."""

import pytest
from playwright.sync_api import expect

from annotate.models.prompt import Split
from annotate.quality import counts
from tests.browser.test_files import look
from tests.builders import make_prompt, make_version
from tests.training.rows import make_judgement
from training.datasets import kept_previews

pytestmark = [pytest.mark.browser]
TRAIN = "/projects/taste/train/"


@pytest.fixture
def much(live_server, project, annotator, monkeypatch):
    """Twelve judgements in blocks of four, of which a page has time for one."""
    monkeypatch.setattr(counts, "AT_ONCE", 2)
    monkeypatch.setattr(counts, "BLOCK", 4)
    monkeypatch.setattr("training.views.train.SAMPLE_SECONDS", 0)
    version = make_version(project, serving=True, name="tiny")
    for _ in range(12):
        make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), version=version)


def test_a_sample_gives_way_to_the_count_and_what_the_clock_counted_says_when(
    page, sign_in, owner, annotator, project, much, no_violations
):
    sign_in(page, owner)
    address = f"{TRAIN}?preset=small&people={annotator.pk}"
    page.route("**/train/**", lambda route: route.abort() if route.request.headers.get("hx-request") else route.continue_())
    page.goto(address)
    preview = page.locator("#train-preview")
    expect(preview).to_contain_text("About right: told from")
    no_violations(page)
    look(page, "train-sample")
    page.unroute("**/train/**")
    page.goto(address)
    expect(preview).not_to_contain_text("About right")
    expect(preview.locator("dd").first).to_have_text("12")
    for module in (counts, kept_previews):
        module.count_on(project=project)
    page.goto(TRAIN)
    expect(preview).to_contain_text("As counted")
    page.goto("/projects/taste/")
    expect(page.locator("#train")).to_contain_text("As counted")
    no_violations(page)
    look(page, "overview-counted")
