"""An annotator's day, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from annotate.models import Assignment, Judgement
from annotate.models.assignment import AssignmentState
from tests.browser.conftest import PHONE, WIDE, settled, wait_for_prefetch, wait_until
from tests.builders import make_comparison

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def at_work(page, sign_in, annotator, project):
    sign_in(page, annotator)
    page.goto(f"/projects/{project.slug}/compare/")
    shows(page, "Question 0?")
    wait_for_prefetch(page)
    return page


def shows(page, prompt: str) -> None:
    expect(page.locator(".prompt-body")).to_contain_text(prompt)
    settled(page)


def judged() -> list[str]:
    return list(Judgement.objects.standing().order_by("pk").values_list("comparison__prompt__messages__0__content", flat=True))


def wait_for_judgements(page, count: int) -> None:
    wait_until(page, lambda: Judgement.objects.standing().count() >= count, f"{count} standing judgements")


def test_judging_by_keyboard_alone(at_work):
    page = at_work
    for number, (key, choice) in enumerate([("ArrowLeft", "a"), ("2", "b"), ("t", "tie"), ("x", "both_bad")]):
        shows(page, f"Question {number}?")
        page.keyboard.press(key)
        wait_for_judgements(page, number + 1)
        judgement = Judgement.objects.latest("pk")
        sides = {"first": "b" if judgement.assignment.swapped else "a", "second": "a" if judgement.assignment.swapped else "b"}
        assert sides.get(judgement.outcome, judgement.outcome) == choice
        assert 0.2 < judgement.seconds < 10
    expect(page.get_by_role("heading", name="Nothing to compare just now")).to_be_visible()
    expect(page.locator("[data-progress=mine_today]")).to_have_text("4")
    expect(page.locator(".pace-project")).to_have_text("4 judged, 0 waiting")


def test_the_next_pair_is_there_before_the_server_has_answered(at_work):
    page = at_work
    page.route("**/compare/judge/", lambda route: None)  # never answered
    page.keyboard.press("1")
    shows(page, "Question 1?")
    expect(page.locator("#live")).to_have_text("Saved. Next comparison.")
    expect(page.get_by_role("heading", name="Prompt")).to_be_focused()
    page.unroute_all(behavior="ignoreErrors")


def test_a_double_click_judges_one_pair(at_work):
    page = at_work
    page.get_by_role("button", name="Tie").dblclick()
    shows(page, "Question 1?")
    page.wait_for_timeout(500)
    assert judged() == ["Question 0?"]


def test_a_held_key_judges_one_pair(at_work):
    page = at_work
    page.keyboard.down("t")
    for _ in range(20):
        page.keyboard.down("t")  # as a keyboard repeats
        page.wait_for_timeout(30)
    page.keyboard.up("t")
    page.wait_for_timeout(300)
    assert judged() == ["Question 0?"]


def test_an_answer_waits_while_the_server_is_away_and_is_sent_once(at_work):
    page = at_work
    page.route("**/compare/**", lambda route: route.abort())
    page.keyboard.press("1")
    shows(page, "Question 1?")
    page.keyboard.press("1")
    expect(page.locator("#outbox-banner")).to_contain_text("Your answers are kept in this browser: 2 waiting.")
    assert judged() == []
    page.unroute_all()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("#outbox-banner")).to_be_hidden()
    shows(page, "Question 2?")
    assert judged() == ["Question 0?", "Question 1?"]
    assert Judgement.objects.count() == 2


def test_an_answer_survives_closing_the_page_and_goes_first(at_work, context, project):
    page = at_work
    context.route("**/compare/judge/", lambda route: route.abort())
    page.keyboard.press("1")
    expect(page.locator("#outbox-banner")).to_contain_text("1 waiting")
    page.close()
    context.unroute_all()
    page = context.new_page()
    page.goto(f"/projects/{project.slug}/compare/")
    shows(page, "Question 1?")
    assert judged() == ["Question 0?"]
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('prefloop.outbox')).length") == 0


def test_a_lost_reply_does_not_count_twice(at_work):
    """The server has taken the answer, but its reply is lost: it is sent again, under the same key."""
    page = at_work
    sent = []

    def lose_first_reply(route) -> None:
        sent.append(route.request.post_data)
        route.fetch()
        if len(sent) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/compare/judge/", lose_first_reply)
    page.keyboard.press("1")
    expect(page.locator("#said")).to_have_text("Saved: A is better", timeout=15_000)
    page.unroute_all(behavior="wait")
    assert len(set(sent)) == 1 < len(sent)
    assert Judgement.objects.count() == 1


def test_a_reload_shows_the_same_pair(at_work):
    page = at_work
    shown = page.locator("#pair").get_attribute("data-assignment")
    page.reload()
    assert page.locator("#pair").get_attribute("data-assignment") == shown


def test_undo_brings_the_pair_back_and_then_goes_on(at_work):
    page = at_work
    page.keyboard.press("1")
    wait_for_judgements(page, 1)
    shows(page, "Question 1?")
    expect(page.locator("#pace")).to_have_text(re.compile(r"1 today\s+1 judged, 3 waiting"))
    page.keyboard.press("u")
    shows(page, "Question 0?")
    assert judged() == []
    expect(page.locator("#pace")).to_have_text(re.compile(r"0 today\s+0 judged, 4 waiting"))
    page.keyboard.press("2")
    wait_for_judgements(page, 1)
    shows(page, "Question 1?")
    page.keyboard.press("Control+z")
    shows(page, "Question 0?")
    assert judged() == [] and Judgement.objects.count() == 2


def test_skipping_with_a_reason_by_key(at_work):
    page = at_work
    page.keyboard.press("s")
    expect(page.get_by_role("button", name="The two are the same")).to_be_visible()
    page.keyboard.press("2")
    shows(page, "Question 1?")
    page.wait_for_timeout(300)
    assert Assignment.objects.get(state=AssignmentState.SKIPPED).skip_reason == "The two are the same"
    assert judged() == []


def test_letters_in_the_reason_field_are_letters(at_work):
    page = at_work
    page.keyboard.press("w")
    page.keyboard.type("txu12 because")
    expect(page.locator("#rationale")).to_have_value("txu12 because")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    wait_for_judgements(page, 1)
    assert Judgement.objects.get().rationale == "txu12 because"


def test_raw_text_and_differences(at_work):
    page = at_work
    page.keyboard.press("1")
    shows(page, "Question 1?")
    page.keyboard.press("d")
    assert sorted(page.locator("mark").all_inner_texts()) == ["green", "red"]
    page.keyboard.press("r")
    expect(page.locator("[data-raw]").first).to_be_visible()
    assert sorted(page.locator("[data-raw] mark").all_inner_texts()) == ["green", "red"]
    page.keyboard.press("d")
    expect(page.locator("mark")).to_have_count(0)


def test_guidelines_and_keys_open_and_close_by_key(at_work):
    page = at_work
    for key, title in [("g", "Guidelines"), ("?", "Keys")]:
        page.keyboard.press(key)
        expect(page.get_by_role("dialog", name=title)).to_be_visible()
        page.keyboard.press("1")
        page.keyboard.press(key)
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert judged() == []


def test_keys_can_be_turned_off(at_work):
    page = at_work
    page.keyboard.press("?")
    page.get_by_label("Keys act without Ctrl").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_timeout(300)
    shows(page, "Question 0?")
    assert judged() == []


def test_a_lost_lease_is_said_and_the_next_pair_comes(at_work):
    page = at_work
    shown = page.locator("#pair").get_attribute("data-assignment")
    Assignment.objects.filter(pk=shown).update(state=AssignmentState.EXPIRED)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#word")).to_contain_text("went back to the queue")
    expect(page.locator("#pair")).not_to_have_attribute("data-assignment", shown)


def test_work_that_arrives_appears_by_itself(at_work, project):
    page = at_work
    for number in range(4):
        shows(page, f"Question {number}?")
        page.keyboard.press("1")
    expect(page.get_by_role("heading", name="Nothing to compare just now")).to_be_visible()
    make_comparison(project)
    expect(page.locator(".choice").first).to_be_visible(timeout=15_000)


def test_after_the_session_has_ended_the_answer_is_kept_and_sent_after_signing_in(at_work, context, annotator, sign_in):
    page = at_work
    context.clear_cookies(name="sessionid")
    page.keyboard.press("1")
    banner = page.locator("#outbox-banner")
    expect(banner).to_contain_text("You are signed out")
    expect(banner).to_contain_text("1 waiting")
    assert judged() == []
    sign_in(context.new_page(), annotator)
    page.bring_to_front()
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(banner).to_be_hidden()
    assert judged() == ["Question 0?"]


def test_another_persons_sign_in_sends_nothing_in_their_name(at_work, context, owner, sign_in, project):
    page = at_work
    sign_in(context.new_page(), owner)
    page.bring_to_front()
    page.keyboard.press("1")
    expect(page.locator("#outbox-banner")).to_contain_text("Somebody else is signed in")
    theirs = context.new_page()
    theirs.goto(f"/projects/{project.slug}/compare/")
    shows(theirs, "Question")
    assert judged() == []


def test_without_javascript(chromium, live_server, annotator, project, sign_in):
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, annotator)
        page.goto(f"/projects/{project.slug}/compare/")
        page.get_by_role("button", name="A is better").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
        assert judged() == ["Question 0?"]
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 0?")
        page.locator("#skip summary").click()
        page.get_by_role("button", name="Another reason").click()
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
        assert judged() == []


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(at_work, no_violations, scheme, size):
    page = at_work
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    no_violations(page)
    page.keyboard.press("d")
    page.keyboard.press("w")
    no_violations(page)
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    no_violations(page)
    page.keyboard.press("Escape")
    for key in "g?":
        page.keyboard.press(key)
        no_violations(page)
        page.keyboard.press("Escape")


def test_the_phone_has_no_sideways_scroll_and_the_answers_in_reach(at_work):
    page = at_work
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for name in ("A is better", "Tie", "Both bad", "B is better"):
        box = page.locator(".choice", has_text=name.split()[0]).first.bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"] and box["height"] >= 44
