"""The pages around the comparing, looked at by axe in both themes and both sizes, and used."""

import pytest
from playwright.sync_api import expect

from annotate.models import User
from annotate.people.invitations import create_invitation
from tests.browser.conftest import PHONE, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("four_comparisons")]


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say(page, sign_in, owner, annotator, project, no_violations, scheme, size):
    project.guidelines = "# How\n\n- `code` [link](https://example.org)\n\n> quote\n\n```python\ndef f(): return 'x'  # why\n```"
    project.save()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    for address in ("/sign-in/", "/sign-in/nonsense/", "/no-such-page/"):
        page.goto(address)
        no_violations(page)
    sign_in(page, owner)
    for address in ("/", "/account/", "/projects/taste/guidelines/", "/projects/taste/members/"):
        page.goto(address)
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.goto(f"/projects/taste/members/{annotator.pk}/")
    no_violations(page)
    page.get_by_label("Why").fill("Clicked at random")
    page.get_by_role("button", name="Leave their judgements out").click()
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_role("button", name="Let them count again")).to_be_visible()
    no_violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.goto("/projects/taste/members/")
    no_violations(page)
    page.get_by_role("button", name="New sign-in link for anna").click()
    expect(page.get_by_label("Sign-in link", exact=True)).to_be_visible()
    page.locator(".bar-end summary").click()
    no_violations(page)


def test_the_theme_is_chosen_and_kept(page, sign_in, owner):
    sign_in(page, owner)
    page.goto("/account/")
    page.locator(".theme-choice").get_by_role("button", name="Dark").click()
    page.goto("/")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(18, 19, 17)"


def test_adding_a_person_who_then_signs_in(page, chromium, live_server, settings, sign_in, owner):
    sign_in(page, owner)
    page.goto("/projects/taste/members/")
    page.get_by_label("User name").fill("nadia")
    page.get_by_role("button", name="Add and make a sign-in link").click()
    link = page.get_by_label("Sign-in link", exact=True).input_value().replace(settings.BASE_URL, live_server.url)
    with chromium.new_context(base_url=live_server.url) as hers:
        other = hers.new_page()
        other.goto(link)
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("heading", name="Projects")).to_be_visible()
        other.goto(link)
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("heading", name="This link no longer works")).to_be_visible()
    assert User.objects.get(username="nadia").last_login


def test_an_invitation_made_by_a_manager_brings_a_new_person_to_work(page, chromium, live_server, settings, sign_in, manager):
    sign_in(page, manager)
    page.goto("/projects/taste/members/")
    page.get_by_role("link", name="Invitations").click()
    page.get_by_label("For whom").fill("Night shift")
    page.get_by_role("button", name="Make an invitation link").click()
    link = page.get_by_label("Invitation link", exact=True).input_value().replace(settings.BASE_URL, live_server.url)
    with chromium.new_context(base_url=live_server.url) as hers:
        other = hers.new_page()
        other.goto(link)
        other.get_by_label("User name").fill("nadia")
        other.get_by_label("Password").fill("seven green bottles")
        other.get_by_role("button", name="Make an account and join").click()
        expect(other.get_by_text("Welcome to “Taste”")).to_be_visible()
        other.get_by_role("link", name="Compare").first.click()
        expect(other.locator(".prompt-body")).to_contain_text("Question")
        other.goto(link)
        expect(other.get_by_role("heading", name="This invitation no longer works")).to_be_visible()
    page.goto("/projects/taste/invitations/")
    expect(page.get_by_role("row", name="Night shift")).to_contain_text("1 of 1")


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_axe_has_nothing_to_say_about_invitations(page, sign_in, owner, project, no_violations, scheme, size):
    membership = project.memberships.get(user=owner)
    link = "/join" + create_invitation(project=project, by=membership, role="annotator")[1].split("/join")[1]
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    for address in (link, "/join/nonsense/"):
        page.goto(address)
        no_violations(page)
    sign_in(page, owner)
    for address in (link, "/projects/taste/invitations/"):
        page.goto(address)
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
