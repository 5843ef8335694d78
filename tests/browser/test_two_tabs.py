"""Two tabs of one annotator, leases that lapse while a page is open, and links that came too late."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from annotate.models import Assignment, Judgement, SignInLink
from annotate.people.sign_in import create_sign_in_link
from annotate.queue.claims import claim_comparison
from tests.browser.conftest import settled, wait_for_prefetch, wait_until
from tests.builders import make_member
from tests.collecting.leases import assert_places_add_up, run_out

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.fixture
def tab(context, sign_in, annotator, project):
    """tab(): a new tab of the annotator's browser, on the compare page."""
    sign_in(context.new_page(), annotator)

    def open_one():
        page = context.new_page()
        page.goto(f"/projects/{project.slug}/compare/")
        shows(page, 0)
        wait_for_prefetch(page)
        return page

    return open_one


def shows(page, number: int) -> None:
    expect(page.locator(".prompt-body")).to_contain_text(f"Question {number}?")
    settled(page)


def answers() -> list[tuple[str, str]]:
    """Each judgement that stands: the question, and what was chosen on the screen."""
    found = Judgement.objects.standing().order_by("pk").select_related("assignment", "comparison__prompt")
    sides = {"first": "ab", "second": "ba"}
    return [(each.comparison.prompt.messages[0]["content"], sides[each.outcome][each.assignment.swapped]) for each in found]


def wait_for_answers(page, *expected: tuple[str, str]) -> None:
    wait_until(page, lambda: answers() == list(expected), f"{expected}, not {answers()}")


def comes_back(page) -> None:
    """As when the tab is brought to the front, or the machine wakes up."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_the_same_pair_answered_in_two_tabs_is_judged_once_and_the_second_is_told(tab):
    one, two = tab(), tab()
    one.keyboard.press("1")
    shows(one, 1)
    wait_for_answers(one, ("Question 0?", "a"))
    two.keyboard.press("2")
    expect(two.locator("#word")).to_contain_text("You had judged this pair already")
    shows(two, 1)
    two.keyboard.press("2")
    shows(two, 2)
    wait_for_answers(two, ("Question 0?", "a"), ("Question 1?", "b"))
    assert Judgement.objects.count() == 2
    assert_places_add_up()


def test_an_answer_that_the_other_tab_sent_leaves_no_word_of_an_outage(tab):
    one, two = tab(), tab()
    one.route("**/compare/judge/", lambda route: route.abort())
    one.keyboard.press("1")
    banner = one.locator("#outbox-banner")
    expect(banner).to_contain_text("The server cannot be reached")
    two.evaluate("window.dispatchEvent(new Event('focus'))")
    wait_for_answers(two, ("Question 0?", "a"))
    expect(banner).to_be_hidden()


def test_answering_in_both_tabs_at_once_judges_once(tab):
    one, two = tab(), tab()
    for page in (one, two):
        page.evaluate("document.querySelector('.choice[value=a]').click()")
    for page in (one, two):
        shows(page, 1)
    wait_for_answers(one, ("Question 0?", "a"))
    assert Judgement.objects.count() == 1
    assert_places_add_up()


def test_a_tab_that_comes_back_says_that_its_pair_was_judged_in_the_other(tab):
    one, two = tab(), tab()
    one.keyboard.press("1")
    shows(one, 1)
    wait_for_answers(one, ("Question 0?", "a"))
    comes_back(two)
    expect(two.locator("#word")).to_contain_text("judged")
    expect(two.locator("#word")).not_to_contain_text("went back to the queue")
    shows(two, 1)
    assert answers() == [("Question 0?", "a")]


def test_taking_back_in_the_other_tab_shows_the_pair_once(tab):
    one, two = tab(), tab()
    one.keyboard.press("1")
    shows(one, 1)
    wait_for_answers(one, ("Question 0?", "a"))
    two.keyboard.press("u")  # it still shows that pair
    wait_for_answers(two)
    shows(two, 0)
    two.keyboard.press("2")
    shows(two, 1)
    wait_for_answers(two, ("Question 0?", "b"))
    assert_places_add_up()


def test_a_lease_that_lapsed_while_nobody_needed_it_is_renewed(tab, project):
    page = tab()
    run_out(*Assignment.objects.all())
    comes_back(page)
    wait_until(page, lambda: Assignment.objects.live().count() == 2, "both leases are renewed")
    expect(page.locator("#word")).to_be_hidden()
    page.keyboard.press("1")
    wait_for_answers(page, ("Question 0?", "a"))
    assert not Judgement.objects.get().late


def test_an_answer_after_the_pair_went_to_somebody_else_is_kept_and_marked_late(tab, project):
    page = tab()
    run_out(*Assignment.objects.all())
    theirs = claim_comparison(project=project, annotator=make_member(project, "annotator", "berta"))
    assert "Question 0?" in str(theirs.comparison.prompt.messages)
    page.keyboard.press("1")  # the page has not looked since
    wait_for_answers(page, ("Question 0?", "a"))
    assert Judgement.objects.get().late
    shows(page, 1)
    page.keyboard.press("2")  # the prefetched pair had lapsed as well, but nobody took it
    wait_for_answers(page, ("Question 0?", "a"), ("Question 1?", "b"))
    assert_places_add_up()


def test_a_page_that_was_away_too_long_goes_on_with_what_is_left(tab, project):
    page = tab()
    run_out(*Assignment.objects.all())
    berta = make_member(project, "annotator", "berta")
    theirs = claim_comparison(project=project, annotator=berta)
    claim_comparison(project=project, annotator=berta, beside=theirs)  # the prefetched one, too
    comes_back(page)
    expect(page.locator("#word")).to_contain_text("went back to the queue")
    shows(page, 2)
    page.keyboard.press("1")
    wait_for_answers(page, ("Question 2?", "a"))
    assert_places_add_up()


def test_a_sign_in_link_that_is_too_old_says_so_and_how_to_get_another(page, settings, live_server, annotator):
    link = create_sign_in_link(user=annotator).replace(settings.BASE_URL, live_server.url)
    SignInLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="This link no longer works")).to_be_visible()
    expect(page.locator("main")).to_contain_text("sign_in_link")
    page.goto("/")
    assert "/sign-in/" in page.url
