"""One's own past answers, and breaks, in a real browser."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement
from tests.browser.conftest import PHONE, WIDE, settled, wait_for_prefetch, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    sign_in(page, annotator)
    page.goto("/projects/taste/compare/")
    wait_for_prefetch(page)
    return page


def judge_one(page) -> None:
    count = Judgement.objects.count()
    page.keyboard.press("1")
    wait_until(page, lambda: Judgement.objects.count() > count, "one more judgement")


def test_a_past_answer_is_changed_and_its_history_stays(at_work):
    page = at_work
    judge_one(page)
    page.get_by_role("link", name="My work").click()
    page.get_by_role("link", name="Change").click()
    expect(page.get_by_role("heading", name="You said: A is better")).to_be_visible()
    page.get_by_label("Why?").fill("On reflection.")
    page.get_by_role("button", name="B is better").click()
    expect(page.get_by_text("Your answer is now “B is better”")).to_be_visible()
    assert [row.withdrawn_at is None for row in Judgement.objects.order_by("pk")] == [False, True]
    page.get_by_role("link", name="Change").click()
    expect(page.get_by_role("heading", name="What you said before")).to_be_visible()


def test_a_skipped_pair_is_taken_up_again(at_work):
    page = at_work
    page.keyboard.press("s")
    page.keyboard.press("1")
    expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
    page.wait_for_load_state("networkidle")
    page.goto("/projects/taste/mine/?show=skipped")
    page.get_by_role("button", name="Take up again").click()
    expect(page.locator(".prompt-body")).to_contain_text("Question 0?")


def test_a_break_is_suggested_after_the_time_one_has_set_and_can_be_turned_off(page, sign_in, annotator):
    annotator.break_minutes = 1
    annotator.save()
    page.clock.install()
    sign_in(page, annotator)
    page.goto("/projects/taste/compare/")
    reminder = page.locator("#break")
    page.clock.run_for(50_000)
    expect(reminder).to_be_hidden()
    page.clock.run_for(15_000)
    expect(reminder).to_contain_text("You have worked for a minute.")
    page.reload()
    page.clock.run_for(6_000)
    expect(reminder).to_be_visible()  # a reload is no break
    page.get_by_role("button", name="Go on").click()
    expect(reminder).to_be_hidden()
    page.clock.run_for(20_000)
    expect(reminder).to_be_hidden()
    annotator.break_minutes = 0
    annotator.save()
    page.reload()
    page.clock.run_for(120_000)
    expect(reminder).to_be_hidden()


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(at_work, no_violations, project, scheme, size):
    page = at_work
    judge_one(page)
    settled(page)
    page.keyboard.press("s")
    page.keyboard.press("1")
    page.wait_for_load_state("networkidle")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    project.flags, project.grades = ["unsafe"], 8
    project.save()
    mine = Judgement.objects.get().assignment_id
    for address in ("/projects/taste/mine/", "/projects/taste/mine/?show=skipped", f"/projects/taste/mine/{mine}/", "/account/"):
        page.goto(address)
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
