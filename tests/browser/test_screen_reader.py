"""The compare page as a screen reader meets it: landmarks, headings, the order of focus, what is announced."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import settled, wait_for_prefetch

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]

FOCUSED = """() => {
  const here = document.activeElement;
  const name = here.getAttribute("aria-label") ?? here.dataset.label ?? here.innerText ?? "";
  return (name || here.value || here.id || here.tagName).trim().split("\\n")[0];
}"""


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    project.flags = ["unsafe"]
    project.save()
    sign_in(page, annotator)
    page.goto("/projects/taste/compare/")
    wait_for_prefetch(page)
    return page


def test_landmarks_and_headings(at_work):
    page = at_work
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Project")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare two answers")
    own = [" ".join(text.split()) for text in page.get_by_role("heading", level=2).all_inner_texts()]
    assert own == ["Prompt", "Answer A", "Answer B"]  # those that a model writes lie below
    expect(page.get_by_role("heading", name="Steps", level=3)).to_be_visible()
    for side in "AB":
        expect(page.get_by_role("region", name=f"Text of answer {side}")).to_be_visible()
    judgement = page.get_by_role("group", name="Your judgement")
    expect(judgement.get_by_role("group", name="Flag")).to_be_visible()
    names = [button.get_attribute("data-label") for button in judgement.locator(".choice").all()]
    assert names == ["A is better", "Tie", "Both bad", "B is better"]
    expect(page.get_by_role("button", name="A is better")).to_have_attribute("aria-keyshortcuts", "ArrowLeft 1")


def test_focus_goes_the_way_one_reads(at_work):
    page = at_work
    page.locator("#prompt-title").focus()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name = page.evaluate(FOCUSED)
        reached.append(name)
        if name.startswith("Skip"):
            break
    wanted = [
        "Mark differences",
        "Text of answer A",
        "Text of answer B",
        "unsafe",
        "A is better",
        "Tie",
        "Both bad",
        "B is better",
    ]
    wanted += ["Undo", "Skip"]
    places = [next((at for at, name in enumerate(reached) if name.startswith(each)), -1) for each in wanted]
    assert -1 not in places and places == sorted(places), reached


def test_the_next_pair_is_announced_and_has_the_focus(at_work):
    page = at_work
    live = page.locator("#live")
    assert (live.get_attribute("role"), live.get_attribute("aria-live")) == ("status", "polite")
    settled(page)
    page.keyboard.press("1")
    expect(live).to_have_text("Saved. Next comparison.")
    expect(page.get_by_role("heading", name="Prompt")).to_be_focused()
    settled(page)
    page.keyboard.press("u")
    expect(live).to_have_text("Your last answer, A is better, is taken back. Judge this pair again.")
    expect(page.locator("#content")).to_have_attribute("aria-busy", "false")
