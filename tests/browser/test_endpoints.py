"""The pages of endpoints as a manager finds them."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, WIDE
from tests.training.model_server import model_server

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_a_manager_adds_an_endpoint_tests_it_and_lets_it_serve(page, sign_in, manager, project, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    with model_server() as server:
        sign_in(page, manager)
        page.goto(f"/projects/{project.slug}/versions/")
        page.get_by_role("link", name="Endpoints").click()
        no_violations(page)
        page.get_by_label("Name").fill("Our vLLM")
        page.get_by_label("Model", exact=True).fill("stub")
        page.get_by_label("Base URL").fill("nonsense")
        page.get_by_label("Key").fill("sk-secret")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_text("begins with http://")).to_be_visible()
        no_violations(page)
        page.get_by_label("Base URL").fill(server.url)
        page.get_by_label("Key").fill("sk-secret")
        page.get_by_label("Price out").fill("10")
        page.get_by_role("button", name="Add").click()
        page.get_by_role("button", name="Test").click()
        expect(page.get_by_text("for one sentence")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        no_violations(page)
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Make it serve").click()
        expect(page.get_by_text("its weights are elsewhere")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        page.goto(f"/projects/{project.slug}/endpoints/")
        expect(page.get_by_text("serving", exact=True)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        no_violations(page)
