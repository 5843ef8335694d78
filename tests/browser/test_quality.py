"""The quality page as a manager finds it."""

import pytest
from playwright.sync_api import expect

from annotate.models import Assignment, Judgement
from tests.browser.conftest import PHONE, WIDE
from tests.builders import make_comparison, make_member

pytestmark = pytest.mark.browser


@pytest.fixture
def judged(live_server, project):
    people = [make_member(project, "annotator", name) for name in ("anna", "bob", "eve")]
    for number in range(12):
        comparison = make_comparison(project, judgements_required=3)
        for person in people:
            assignment = Assignment.objects.create(
                comparison=comparison, annotator=person, swapped=number % 2, state="judged", expires_at="2100-01-01T00:00Z"
            )
            outcome = "first" if person.username != "eve" or number % 3 else "second"
            Judgement.objects.create(
                assignment=assignment, comparison=comparison, annotator=person, outcome=outcome, seconds=5 + number
            )


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_a_manager_finds_it_in_the_bar_and_it_fits(page, sign_in, manager, project, judged, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/")
    page.get_by_role("link", name="Quality").click()
    expect(page.get_by_role("heading", name="Who agrees with whom")).to_be_visible()
    expect(page.get_by_role("img", name="Time per judgement")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    no_violations(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of people").click()
    assert download.value.suggested_filename == "taste-people.csv"
