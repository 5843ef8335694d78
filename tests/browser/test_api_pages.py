"""Tokens and the API reference: made and revoked with a mouse, read by axe in both themes and sizes."""

import re

import pytest
from playwright.sync_api import expect

from annotate.models import Rating
from annotate.outgoing.webhooks import add_webhook
from tests.browser.conftest import PHONE, WIDE, wait_until
from tests.builders import make_completion, make_prompt

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(page, sign_in, owner, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, owner)
    page.goto("/account/tokens/")
    page.get_by_label("Name").fill("nightly import")
    page.get_by_label("Look:").check()
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_label("Token", exact=True)).to_have_value(re.compile("^pfl_"))
    for address in ("", "/account/tokens/", "/api/v1/"):
        if address:
            page.goto(address)
        if address == "/api/v1/":
            page.locator("#post_runs > summary").click()
            page.locator("#post_next > summary").click()
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.goto("/account/tokens/")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke nightly import").click()
    expect(page.locator(".tokens .badge")).to_have_text("revoked")


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_webhooks(page, sign_in, owner, project, no_violations, settings, scheme, size):
    settings.WEBHOOKS_MAY_BE_INTERNAL = True
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, owner)
    page.goto("/projects/taste/webhooks/")
    page.get_by_role("textbox", name="Address").fill("http://127.0.0.1:9/prefloop/" + "long/" * 20)
    page.get_by_label("A run is done").check()
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Secret", exact=True)).to_have_value(re.compile("^whs_"))
    no_violations(page)
    hook = add_webhook(project=project, url="http://127.0.0.1:9/other", events=["run.finished"])
    said = {"said": "ConnectionRefusedError: [Errno 111] Connection refused " * 3, "tries": 2}
    hook.deliveries.create(event="run.finished", subject="1/17", body="{}", state="done", status=200, said="ok", milliseconds=31)
    hook.deliveries.create(event="run.finished", subject="2/18", body="{}", **said)
    page.goto(f"/projects/taste/webhooks/{hook.pk}/")
    no_violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.get_by_role("button", name="Send again").last.click()
    expect(page.get_by_text("It is sent again in a moment.")).to_be_visible()


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_an_answer_is_rated_by_keys(page, sign_in, annotator, project, no_violations, scheme, size):
    project.asks_for_ratings = True
    project.save()
    for number in range(2):
        make_completion(make_prompt(project), f"Answer {number} with `code` and **words**.")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, annotator)
    page.goto("/projects/taste/rate/")
    no_violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
    wait_until(page, lambda: Rating.objects.filter(good=True).count() == 1, "the first is rated")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="Nothing to rate")).to_be_visible()
    no_violations(page)
    assert sorted(Rating.objects.values_list("good", flat=True)) == [False, True]
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Answer", exact=True)).to_be_visible()
