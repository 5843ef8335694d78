"""Guidelines that change while somebody is at work."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement, Membership
from annotate.projects.guidelines import save_guidelines
from tests.browser.conftest import PHONE, WIDE, settled, wait_for_prefetch, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


def test_news_of_the_guidelines_reach_a_page_that_stays_open(page, sign_in, project, owner, annotator):
    save_guidelines(project=project, text="Prefer what is **true**.", by=owner)
    sign_in(page, annotator)
    page.goto("/projects/taste/compare/")
    news = page.locator("#news")
    expect(news).to_contain_text("Read them before you begin")
    page.keyboard.press("g")
    expect(page.get_by_role("dialog", name="Guidelines")).to_contain_text("Prefer what is true.")
    expect(news).to_be_hidden()
    wait_until(page, lambda: Membership.objects.get(user=annotator).guidelines_read is not None, "it is marked as read")
    page.keyboard.press("g")
    save_guidelines(project=project, text="Prefer what is **true** and short.", by=owner)
    wait_for_prefetch(page)
    for _ in range(3):  # the pair that was fetched before does not know yet
        settled(page)
        page.keyboard.press("1")
    expect(news).to_contain_text("The guidelines have changed since you read them.")
    page.keyboard.press("g")
    expect(page.get_by_role("dialog", name="Guidelines")).to_contain_text("true and short")
    expect(news).to_be_hidden()
    page.keyboard.press("Escape")
    count = Judgement.objects.count()
    settled(page)
    page.keyboard.press("1")
    wait_until(page, lambda: Judgement.objects.count() > count, "one more")
    assert Judgement.objects.latest("pk").guidelines.number == 2


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(page, sign_in, project, owner, no_violations, scheme, size):
    save_guidelines(
        project=project, text="# How\n\nPrefer what is true.\n\n- one\n- two\n- three\n- four\n- five\n\nEnd.", by=owner
    )
    text = "# How\n\nPrefer what is short and true.\n\n- one\n- two\n- three\n- four\n- five\n- six\n\nEnd."
    save_guidelines(project=project, text=text, by=owner, why="Length matters, too")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, owner)
    for address in ("/", "/projects/new/", *(f"/projects/taste/guidelines/{rest}" for rest in ("", "edit/", "history/"))):
        page.goto(address)
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.goto("/projects/taste/settings/")
    no_violations(page)
    save_guidelines(project=project, text=f"{text}\n\n```\n{'wide ' * 60}\n```", by=owner)
    page.goto("/projects/taste/compare/")
    page.keyboard.press("g")
    expect(page.locator("#guidelines pre")).to_have_attribute("tabindex", "0")  # it scrolls: keys must reach it
