"""Gold in a browser: marked by a manager, answered without a sign of it, told where the project wants it."""

import pytest
from playwright.sync_api import expect

from annotate.gold.known_answers import mark_gold
from annotate.models import Comparison, GoldAnswer, Project
from tests.browser.conftest import PHONE, WIDE, settled, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(page, sign_in, manager, annotator, project, no_violations, scheme, size, tmp_path):
    first, second, *_ = Comparison.objects.order_by("pk")
    mark_gold(comparison=first, low=1, high=4, by=manager, reason="It has the steps.")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, manager)
    gold = "/projects/taste/gold/"
    places = [
        gold,
        f"{gold}?show=suggested",
        f"{gold}?show=all",
        f"{gold}?show=people",
        f"{gold}{first.pk}/",
        f"{gold}{second.pk}/",
    ]
    for number, address in enumerate([*places, "/projects/taste/batches/", "/projects/taste/settings/"]):
        page.goto(address)
        no_violations(page)
        page.screenshot(path=tmp_path / f"{number}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], address


def test_marking_answering_and_being_told(page, context, sign_in, manager, annotator, project, no_violations, tmp_path):
    Project.objects.update(gold_share=1, gold_feedback=True)
    sign_in(page, manager)
    page.goto("/projects/taste/gold/?show=all&q=Question 1")
    page.get_by_role("link", name="Question 1?").click()
    page.get_by_label("Right are: from").select_option("A better")
    page.get_by_label("Why (optional)").fill("Red apples are sweeter.")
    page.get_by_role("button", name="Make it gold").click()
    expect(page.get_by_text("It is gold. Right: A better.")).to_be_visible()
    assert GoldAnswer.objects.get().comparison.prompt.last_message == "Question 1?"
    context.clear_cookies()
    sign_in(page, annotator)
    page.goto("/projects/taste/compare/")
    expect(page.get_by_text("Question 1?")).to_be_visible()
    wrong = "b" if page.locator(".answer-a").inner_text().count("red apples") else "a"
    settled(page)
    page.keyboard.press("ArrowRight" if wrong == "b" else "ArrowLeft")
    strip = page.locator("#feedback")
    expect(strip).to_contain_text("Red apples are sweeter.")
    expect(strip).to_contain_text(f"Expected: {'A' if wrong == 'b' else 'B'} better")
    no_violations(page)
    page.screenshot(path=tmp_path / "told.png")
    page.keyboard.press("Escape")
    expect(strip).to_be_hidden()
    page.keyboard.press("u")
    expect(page.get_by_text("so that answer stands")).to_be_visible()
    wait_until(page, lambda: GoldAnswer.objects.get().comparison.judgements.standing().count() == 1, "the answer stands")
