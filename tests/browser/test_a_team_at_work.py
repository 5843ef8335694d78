"""Four people of different roles in four browsers at once: invited, joined, judging, divided, flagged, reviewed, suspended."""

from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, expect

from annotate.models import Assignment, Comparison, Judgement
from tests.browser.conftest import WIDE, settled, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]

COMPARE, PASSWORD = "/projects/taste/compare/", "seven green bottles"


@pytest.fixture
def browsers(chromium, live_server):
    """A browser for each person, with cookies of its own; any error on a page fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_one() -> Page:
            context = stack.enter_context(chromium.new_context(base_url=live_server.url, viewport=WIDE))
            context.set_default_timeout(10_000)
            context.on("weberror", lambda error: complaints.append(str(error.error)))
            return context.new_page()

        yield open_one
    assert not complaints


def join(page: Page, link: str, username: str) -> None:
    page.goto(link)
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.get_by_text("Welcome to “Taste”")).to_be_visible()


def answer(page: Page, outcome: str) -> None:
    """The key of the side on which this answer stands for them."""
    assignment = Assignment.objects.get(pk=page.locator("#pair").get_attribute("data-assignment"))
    count = Judgement.objects.count()
    settled(page)
    page.keyboard.press("1" if (outcome == "first") != assignment.swapped else "2")
    wait_until(page, lambda: Judgement.objects.count() > count, f"{outcome} is stored")


def test_a_team_at_work(browsers, live_server, settings, sign_in, project, owner, viewer):
    project.flags = ["unsafe"]
    project.judgements_required = 2
    project.save()
    Comparison.objects.update(judgements_required=2, free_places=2)
    olivia, anna, ben, victor = (browsers() for _ in range(4))

    # The owner invites two people; they make their accounts and join, each in a browser of their own.
    sign_in(olivia, owner)
    olivia.goto("/projects/taste/invitations/")
    olivia.get_by_label("People").fill("2")
    olivia.get_by_role("button", name="Make an invitation link").click()
    link = olivia.get_by_label("Invitation link", exact=True).input_value().replace(settings.BASE_URL, live_server.url)
    join(anna, link, "anna")
    join(ben, link, "ben")

    # Both have the same pair before them, and disagree about it. Neither page tells what the other has said.
    for page in (anna, ben):
        page.goto(COMPARE)
        expect(page.locator(".prompt-body")).to_contain_text("Question 0?")
    anna.keyboard.press("f")
    anna.keyboard.press("1")
    anna.keyboard.press("Escape")
    answer(anna, "first")
    assert "unsafe" not in ben.locator("#said").inner_text() and ben.locator(".flag input:checked").count() == 0
    answer(ben, "second")
    assert sorted(Judgement.objects.values_list("annotator__username", "outcome", "flags")) == [
        ("anna", "first", ["unsafe"]), ("ben", "second", []),
    ]  # fmt: skip
    for page in (anna, ben):
        expect(page.locator(".prompt-body")).to_contain_text("Question 1?")
        answer(page, "first")

    # A viewer looks at the project, and may neither judge nor see who said what.
    sign_in(victor, viewer)
    victor.goto("/projects/taste/")
    expect(victor.get_by_role("link", name="Compare")).to_have_count(0)
    for address in (COMPARE, "/projects/taste/quality/", "/projects/taste/members/", "/projects/taste/mine/"):
        assert victor.goto(address).status == 403, address
    assert anna.goto("/projects/taste/quality/").status == 403

    # The owner sees their agreement, and the pair they are divided about.
    olivia.goto("/projects/taste/quality/")
    expect(olivia.get_by_role("row", name="anna").first).to_be_visible()
    expect(olivia.get_by_role("row", name="ben").first).to_be_visible()
    olivia.goto("/projects/taste/review/")
    expect(olivia.locator("main")).to_contain_text("Question 0?")
    expect(olivia.locator("main")).not_to_contain_text("Question 1?")

    # One is suspended with a pair on screen: that answer is still taken, and then the page says why there is no more.
    expect(ben.locator(".prompt-body")).to_contain_text("Question 2?")
    ben.wait_for_load_state("networkidle")
    olivia.goto("/projects/taste/members/")
    olivia.get_by_role("link", name="ben").click()
    olivia.get_by_role("button", name="Suspend").click()
    expect(olivia.get_by_text("ben is suspended and gets no more pairs.")).to_be_visible()
    answer(ben, "first")
    late = Judgement.objects.latest("pk")
    assert late.late and late.annotator.username == "ben"
    ben.goto(COMPARE)
    expect(ben.get_by_text("Your work here is suspended")).to_be_visible()

    # The other goes on.
    anna.goto(COMPARE)
    expect(anna.locator(".prompt-body")).to_contain_text("Question 2?")
    answer(anna, "second")
    expect(anna.locator(".prompt-body")).to_contain_text("Question 3?")
