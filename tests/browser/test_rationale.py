"""Saying why: not asked for, optional, or needed with the strongest grade."""

import re

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement
from tests.browser.conftest import settled, wait_for_prefetch, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    def begin(**settings):
        for name, value in settings.items():
            setattr(project, name, value)
        project.save()
        sign_in(page, annotator)
        page.goto("/projects/taste/compare/")
        wait_for_prefetch(page)
        return page

    return begin


def test_a_strong_grade_waits_for_its_reason_and_then_both_are_sent(at_work, no_violations):
    page = at_work(rationale="strong", grades=4)
    page.keyboard.press("1")
    expect(page.locator("#rationale")).to_be_focused()
    expect(page.locator("#rationale-error")).to_contain_text("“A significantly better” wants a reason.")
    expect(page.locator(".prompt-body")).to_contain_text("Question 0?")
    no_violations(page)
    page.keyboard.press("Control+Enter")  # nothing is written yet
    assert not Judgement.objects.exists()
    page.keyboard.type("B invents a page.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
    wait_until(page, lambda: Judgement.objects.exists(), "the judgement")
    judgement = Judgement.objects.get()
    assert (judgement.strength, judgement.rationale) == (2, "B invents a page.")
    settled(page)
    page.keyboard.press("2")  # a weaker one needs none
    expect(page.locator(".prompt-body")).to_contain_text("Question 2?")


def test_what_was_written_comes_back_with_a_refused_answer(at_work, project):
    """The project stops to offer ties while one is on its way: the pair returns, with the text."""
    page = at_work()
    page.keyboard.press("w")
    page.keyboard.type("Both are fine.")
    page.keyboard.press("Escape")
    type(project).objects.update(allows_tie=False)
    page.keyboard.press("t")
    expect(page.locator("#word")).to_contain_text("was not recorded")
    page.wait_for_timeout(300)
    for _ in range(3):
        if "Question 0?" in page.locator(".prompt-body").inner_text():
            break
        page.keyboard.press("1")
        page.wait_for_timeout(500)
    expect(page.locator(".prompt-body")).to_contain_text("Question 0?")
    expect(page.locator("#rationale")).to_have_value("Both are fine.")


def test_where_none_is_asked_for_there_is_no_box(at_work):
    page = at_work(rationale="off")
    expect(page.locator("#rationale")).to_have_count(0)
    expect(page.get_by_text("Why?")).to_have_count(0)
    page.keyboard.press("w")
    page.keyboard.press("1")
    expect(page.locator(".prompt-body")).to_contain_text("Question 1?")


def test_without_javascript_the_page_comes_back_with_the_message(chromium, live_server, annotator, project, sign_in):
    project.rationale = "strong"
    project.save()
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, annotator)
        page.goto("/projects/taste/compare/")
        page.get_by_role("button", name="A is better").click()
        expect(page.locator("#rationale-error")).to_have_text(re.compile("Say in a few words why it is better."))
        page.locator("#rationale").fill("It is right.")
        page.get_by_role("button", name="A is better").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
    assert Judgement.objects.get().rationale == "It is right."
