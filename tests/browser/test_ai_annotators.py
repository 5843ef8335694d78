"""The pages of AI annotators as a manager finds them."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, WIDE
from tests.builders import make_comparison
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from training.ai.sittings import run_sitting, start_sitting
from training.models import AiAnnotator

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_a_manager_adds_one_and_sees_what_it_is_worth(page, sign_in, manager, project, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    for _ in range(4):
        make_comparison(project)
    with model_server("A") as server:
        make_endpoint(project, server, name="Our vLLM")
        sign_in(page, manager)
        page.goto(f"/projects/{project.slug}/members/")
        page.get_by_role("link", name="AI annotators").click()
        page.get_by_label("Name").fill("Brief")
        page.get_by_label("How it answers").select_option("letter")
        no_violations(page)
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("heading", name="Brief")).to_be_visible()
        run_sitting(start_sitting(AiAnnotator.objects.get()).pk)
        page.reload()
        expect(page.get_by_text("of its pairs: these are ties")).to_be_visible()
        expect(page.locator("#worth")).to_contain_text("Too little to tell")
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        no_violations(page)
        page.goto(f"/projects/{project.slug}/ai/")
        page.get_by_text("Only sort the queue").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("It holds for the judgements that are there, too.")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        no_violations(page)
        page.goto(f"/projects/{project.slug}/quality/")
        expect(page.get_by_text("AI", exact=True).first).to_be_visible()
