"""A real Chromium against a real server. CHROMIUM names it, else it is looked for on the system, else Playwright's own."""

import os
import shutil

# Playwright's synchronous API runs an event loop in this thread; Django would refuse to touch the database beside it.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from annotate.models import Assignment
from annotate.people.sign_in import create_sign_in_link
from tests.builders import make_comparison, make_completion, make_prompt

expect.set_options(timeout=15_000)  # two processes, a server and a browser share two cores
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


@pytest.fixture(scope="session")
def chromium() -> Browser:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium, live_server) -> BrowserContext:
    """A fresh browser. Whatever a page complains of (an error, a breach of the Content Security Policy) fails the test."""
    complaints: list[str] = []
    with chromium.new_context(base_url=live_server.url, viewport=WIDE) as context:
        context.set_default_timeout(10_000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda entry: complaints.append(entry.text) if "Security Policy" in entry.text else None)
        yield context
    assert not complaints


@pytest.fixture
def page(context) -> Page:
    return context.new_page()


@pytest.fixture
def sign_in(settings, live_server):
    """sign_in(page, user): by a one-time link, as people do."""

    def by_link(page: Page, user) -> None:
        page.goto(create_sign_in_link(user=user).replace(settings.BASE_URL, live_server.url))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{live_server.url}/")

    return by_link


@pytest.fixture
def four_comparisons(live_server, project):
    """In this order: a long one with code and a table, then three short ones."""
    code = "```python\nprint('x' * 300)  # " + "wide " * 60 + "\n```"
    long = f"## Steps\n\n{code}\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n" + "Word. " * 400
    pairs = [(long, "Short and plain."), ("red apples", "green apples"), ("one", "two"), ("three", "four")]
    for number, (first, second) in enumerate(pairs):
        prompt = make_prompt(project, text=f"Question {number}?")
        make_comparison(
            project,
            prompt,
            first=make_completion(prompt, first),
            second=make_completion(prompt, second),
            priority=-number,
        )


def wait_until(page: Page, condition, what: str) -> None:
    """Let the page run until `condition()` holds in the database; AssertionError names `what` after 15 seconds."""
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within 15 seconds: {what}")


def settled(page: Page) -> None:
    """Until the pair on screen takes keys and clicks: one that has only just come takes none for up to half a second."""
    page.wait_for_timeout(300)  # a reply that is on its way may draw it anew
    wait_until(page, lambda: page.evaluate("performance.now() - Prefloop.screen.shownAt") > 550, "the pair has settled")


def wait_for_prefetch(page: Page) -> None:
    """Until the pair after the one on screen is leased and its reply has been read."""
    wait_until(page, lambda: Assignment.objects.filter(state="leased").count() >= 2, "the next pair is fetched ahead")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(200)


@pytest.fixture
def no_violations():
    """no_violations(page): axe finds nothing to object to."""

    def check(page: Page) -> None:
        page.wait_for_timeout(250)  # what fades in has no contrast yet
        violations = Axe().run(page).response["violations"]
        assert not violations, [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in violations]

    return check
