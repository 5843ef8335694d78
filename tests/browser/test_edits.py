"""Editing the better answer on the compare page: by key, with what differs shown, kept when the server is away."""

import pytest
from playwright.sync_api import expect

from annotate.models import Assignment, Judgement, Project
from tests.browser.conftest import wait_until
from tests.builders import make_comparison, make_completion, make_prompt

pytestmark = pytest.mark.browser


@pytest.fixture
def pairs(live_server, project):
    project.allows_edit = True
    project.save()
    for number in range(2):
        prompt = make_prompt(project, f"Question {number}?")
        first, second = make_completion(prompt, "Red apples\n\nare **sweet**."), make_completion(prompt, "Green apples.")
        make_comparison(project, prompt, first=first, second=second, priority=-number)


def test_by_key_and_kept_while_the_server_is_away(page, context, sign_in, annotator, project, pairs, no_violations):
    sign_in(page, annotator)
    page.goto(f"/projects/{project.slug}/compare/")
    swapped = Assignment.objects.order_by("leased_at").first().swapped
    page.keyboard.press("Shift+E" if swapped else "e")
    area = page.locator("[data-edit-text]:visible")
    expect(area).to_have_value("Red apples\n\nare **sweet**.")
    expect(area).to_be_focused()
    area.fill("Red apples\n\nare **very sweet**.")
    expect(page.locator("[data-edit-changes] mark:visible")).to_have_text("very")
    no_violations(page)
    page.keyboard.press("Escape")
    page.keyboard.press("1" if swapped else "2")
    expect(page.locator("#said")).to_contain_text("choose it, or discard the edit")
    context.set_offline(True)
    page.keyboard.press("2" if swapped else "1")
    expect(page.locator("#outbox-banner")).to_be_visible()
    context.set_offline(False)
    wait_until(page, lambda: Judgement.objects.exists(), "the answer arrives")
    assert Judgement.objects.get().edited_text == "Red apples\n\nare **very sweet**."
    page.keyboard.press("u")
    expect(page.locator("[data-edit-text]:visible")).to_have_value("Red apples\n\nare **very sweet**.")
    page.get_by_role("button", name="Discard the edit").click()
    page.wait_for_timeout(600)
    page.keyboard.press("2" if swapped else "1")
    wait_until(page, lambda: Judgement.objects.standing().exists(), "the answer without the edit")
    assert Judgement.objects.standing().get().edited_text == ""


def test_what_was_written_is_shown_when_answers_are_no_longer_edited(page, sign_in, annotator, project, pairs):
    sign_in(page, annotator)
    page.goto(f"/projects/{project.slug}/compare/")
    swapped = Assignment.objects.order_by("leased_at").first().swapped
    page.keyboard.press("Shift+E" if swapped else "e")
    page.locator("[data-edit-text]:visible").fill("Red apples are the sweetest.")
    page.keyboard.press("Escape")
    Project.objects.update(allows_edit=False)
    page.wait_for_timeout(600)
    page.keyboard.press("2" if swapped else "1")
    expect(page.locator("#word")).to_contain_text("no longer")
    page.wait_for_timeout(600)
    page.keyboard.press("1")
    wait_until(page, lambda: Judgement.objects.exists(), "the answer to the other pair")
    expect(page.locator("#word")).to_contain_text("What you had written: Red apples are the sweetest.")
