"""Tokens and the API reference: made and revoked with a mouse, read by axe in both themes and sizes."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, WIDE

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
