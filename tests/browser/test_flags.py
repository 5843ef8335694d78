"""Flags by keys, and that Enter among them judges nothing."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement, Project
from tests.browser.conftest import PHONE, WIDE, settled, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    Project.objects.update(flags=["unsafe", "wrong, language", "cut off"], grades=4)
    sign_in(page, annotator)
    page.goto(f"/projects/{project.slug}/compare/")
    settled(page)
    return page


def test_flags_by_keys_then_the_answer(at_work):
    page = at_work
    page.keyboard.press("f")
    page.keyboard.press("2")
    page.keyboard.press("9")  # there is no such flag, and it is no answer
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="wrong, language")).to_be_checked()
    expect(page.get_by_role("checkbox", name="cut off")).to_be_checked()
    assert not Judgement.objects.exists()
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    wait_until(page, lambda: Judgement.objects.exists(), "the judgement is stored")
    judgement = Judgement.objects.get()
    assert (judgement.flags, judgement.strength) == (["wrong, language", "cut off"], 1)
    expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(0)


def test_without_javascript_enter_on_a_flag_judges_nothing(chromium, live_server, annotator, project, sign_in):
    Project.objects.update(flags=["unsafe"])
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, annotator)
        page.goto(f"/projects/{project.slug}/compare/")
        page.get_by_role("checkbox", name="unsafe").check()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Choose one of the answers.")).to_be_visible()
        expect(page.get_by_role("checkbox", name="unsafe")).to_be_checked()
        assert not Judgement.objects.exists()
        page.get_by_role("button", name="Tie").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
        assert Judgement.objects.get().flags == ["unsafe"]


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_and_width(at_work, no_violations, scheme, size):
    page = at_work
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    page.get_by_role("checkbox", name="unsafe").check()
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    no_violations(page)
