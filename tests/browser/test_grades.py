"""The graded row in a real browser: keys, a server that is away, no script, a phone."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement, Project
from tests.browser.conftest import PHONE, settled, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    Project.objects.update(grades=8)
    sign_in(page, annotator)
    page.goto(f"/projects/{project.slug}/compare/")
    settled(page)
    return page


def clicked(judgement: Judgement) -> str:
    sides = {"first": "ab", "second": "ba"}
    return f"{sides[judgement.outcome][judgement.assignment.swapped]}{judgement.strength}"


def test_number_keys_go_across_the_row_and_undo_tells_what_was_said(at_work):
    page = at_work
    for number, (key, value) in enumerate([("1", "a4"), ("5", "b1"), ("7", "b3")], start=1):
        expect(page.locator(".prompt-body")).to_contain_text(f"Question {number - 1}?")
        settled(page)
        page.keyboard.press(key)
        wait_until(page, lambda count=number: Judgement.objects.count() >= count, "the judgement is stored")
        assert clicked(Judgement.objects.latest("pk")) == value
    settled(page)
    page.keyboard.press("ArrowLeft")  # says nothing on a graded scale
    page.keyboard.press("u")
    expect(page.locator("#said")).to_have_text("Taken back: B better")
    expect(page.locator(".prompt-body")).to_contain_text("Question 2?")
    assert Judgement.objects.standing().count() == 2


def test_the_outbox_keeps_the_grade_while_the_server_is_away(at_work):
    page = at_work
    page.route("**/compare/judge/", lambda route: route.abort())
    page.get_by_role("button", name="B significantly better").click()
    expect(page.locator("#outbox-banner")).to_contain_text("1 waiting")
    page.unroute_all()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    wait_until(page, lambda: Judgement.objects.exists(), "the judgement has been sent")
    assert clicked(Judgement.objects.get()) == "b4"
    expect(page.locator("#said")).to_have_text("Saved: B significantly better")


def test_the_row_without_javascript(chromium, live_server, annotator, project, sign_in):
    Project.objects.update(grades=4)
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, annotator)
        page.goto(f"/projects/{project.slug}/compare/")
        page.get_by_role("button", name="A slightly better").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
        assert clicked(Judgement.objects.get()) == "a1"
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Taken back: “A slightly better”.")).to_be_visible()


def test_the_row_on_a_phone(at_work, no_violations):
    page = at_work
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for button in page.locator(".choice").all():
        box = button.bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"] and box["height"] >= 44 and box["width"] >= 44
    no_violations(page)
