"""Review as a manager does it: with keys, from one comparison to the next, beside another manager."""

import pytest
from playwright.sync_api import expect

from annotate.models import Decision, Judgement
from annotate.models.scale import Grades
from annotate.review.decisions import settle_comparison
from tests.browser.conftest import PHONE, WIDE
from tests.builders import make_comparison, make_completion, make_member, make_prompt
from tests.collecting.judged import judge

pytestmark = pytest.mark.browser


@pytest.fixture
def disputed(live_server, project):
    project.grades, project.flags = 6, ["unsafe"]
    project.save()
    people = [make_member(project, "annotator", name) for name in ("anna", "bob")]
    found = []
    for number in range(3):
        prompt = make_prompt(project, f"Question {number}?")
        first, second = make_completion(prompt, "Red apples, mostly."), make_completion(prompt, "Green apples, mostly.")
        comparison = make_comparison(project, prompt, first=first, second=second, judgements_required=2)
        judge(comparison, people[0], "first", grades=6, strength=3, rationale="Because of the colour.", seconds=8)
        judge(comparison, people[1], "second", grades=6, strength=1, flags=["unsafe"])
        found.append(comparison)
    return found


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_the_pages_fit_and_are_accessible(page, sign_in, manager, project, disputed, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/")
    page.get_by_role("link", name="Review").click()
    expect(page.get_by_role("link", name="People disagree 3")).to_be_visible()
    no_violations(page)
    page.get_by_role("link", name="Question 0?").click()
    expect(page.get_by_role("heading", name="In dispute")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    no_violations(page)
    page.locator("summary", has_text="Withdraw").first.click()
    no_violations(page)


def test_with_keys_from_one_to_the_next(page, sign_in, manager, project, disputed):
    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/review/?reason=disagreement")
    page.keyboard.press("n")
    expect(page.get_by_text("Because of the colour.")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator(".answer mark").first).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Choose the answer that it is settled for.")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    page.keyboard.press("w")
    page.keyboard.type("Both are red, in fact.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status").filter(has_text="marek settled it: B better")).to_be_visible()
    expect(page.locator(".prompt-body")).to_have_text("Question 1?")
    expect(page.locator(".answer mark").first).to_be_visible()  # the toggle stays
    assert f"/review/{disputed[1].pk}/?reason=disagreement" in page.url
    page.keyboard.press("n")
    expect(page.locator(".prompt-body")).to_have_text("Question 2?")
    page.keyboard.press("m")
    expect(page.locator(".prompt-body")).to_have_text("Question 1?")
    page.keyboard.press("l")
    expect(page.get_by_role("heading", name="Nothing is in dispute")).to_be_visible()
    made = [(each.comparison, each.kind, each.outcome, each.strength) for each in Decision.objects.order_by("pk")]
    assert made == [(disputed[0], "settled", "second", 2), (disputed[2], "asked_more", "", 0), (disputed[1], "left", "", 0)]


def test_two_managers_the_second_is_told_and_keeps_the_text(context, page, sign_in, manager, project, disputed):
    sign_in(page, manager)
    address = f"/projects/{project.slug}/review/{disputed[0].pk}/"
    page.goto(address)
    olivia = make_member(project, "owner", "olivia")
    settle_comparison(
        comparison_id=disputed[0].pk, by=olivia, outcome="tie", strength=0, grades=Grades.SIX, why="They are the same."
    )
    page.keyboard.press("1")
    page.locator("#why").fill("A is better.")
    page.keyboard.press("Control+Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Somebody was quicker. olivia settled it: Tie (“They are the same.”).")
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("taken back by marek")).to_be_visible()


def test_without_a_script_it_is_plain_forms(chromium, live_server, sign_in, manager, project, disputed):
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as plain:
        page = plain.new_page()
        sign_in(page, manager)
        page.goto(f"/projects/{project.slug}/review/{disputed[0].pk}/")
        page.locator("summary", has_text="Withdraw").first.click()
        page.get_by_label("Why?").first.fill("Did not read it.")
        page.get_by_role("button", name="Withdraw it").first.click()
        expect(page.get_by_text("withdrawn by marek")).to_be_visible()
    assert Judgement.objects.standing().filter(comparison=disputed[0]).count() == 1
