"""A link signs its user in once."""

import hashlib
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotate.models import SignInLink
from annotate.models.people import SignInLinkQuerySet
from annotate.people.sign_in import create_sign_in_link, redeem


def token_of(link: str) -> str:
    return link.rstrip("/").rsplit("/", 1)[1]


def test_a_link_works_once(settings, stranger):
    settings.BASE_URL = "https://prefer.example"
    link = create_sign_in_link(user=stranger)
    assert link.startswith("https://prefer.example/")
    assert redeem(token=token_of(link)) == stranger
    assert redeem(token=token_of(link)) is None


def test_whoever_came_by_a_link_is_led_to_setting_a_password(client, stranger):
    page = client.post(f"/sign-in/{token_of(create_sign_in_link(user=stranger))}/", follow=True).content.decode()
    assert '<a href="/account/#id_new_password">Set a password</a>' in page
    assert 'id="id_new_password"' in client.get("/account/").content.decode()


def test_only_the_hash_is_stored_and_tokens_are_long(stranger):
    token = token_of(create_sign_in_link(user=stranger))
    assert len(token) >= 43  # 32 bytes
    assert token_of(create_sign_in_link(user=stranger)) != token
    row = SignInLink.objects.first()
    assert row.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(vars(row))


def test_it_lasts_as_long_as_it_says(settings, stranger):
    settings.SIGN_IN_LINK_HOURS = 3
    create_sign_in_link(user=stranger)
    create_sign_in_link(user=stranger, hours=0.5)
    left = [row.expires_at - timezone.now() for row in SignInLink.objects.order_by("pk")]
    assert timedelta(hours=2.9) < left[0] <= timedelta(hours=3)
    assert timedelta(minutes=29) < left[1] <= timedelta(minutes=30)
    for hours in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="never be used"):
            create_sign_in_link(user=stranger, hours=hours)


def test_an_old_link_an_unknown_one_and_a_deactivated_user(stranger):
    token = token_of(create_sign_in_link(user=stranger))
    assert redeem(token="nonsense") is None
    assert redeem(token="\ud800") is None
    stranger.is_active = False
    stranger.save()
    assert redeem(token=token) is None
    stranger.is_active = True
    stranger.save()
    SignInLink.objects.update(expires_at=timezone.now())
    assert redeem(token=token) is None


def test_of_two_requests_at_once_only_one_gets_in(stranger, monkeypatch):
    token = token_of(create_sign_in_link(user=stranger))
    assert redeem(token=token) == stranger
    monkeypatch.setattr(SignInLinkQuerySet, "usable", lambda self: self)  # what the second saw before the first wrote
    assert redeem(token=token) is None


def test_the_command(stranger):
    out = StringIO()
    call_command("sign_in_link", "stranger", stdout=out)
    assert redeem(token=token_of(out.getvalue().strip())) == stranger


def test_the_command_says_what_is_wrong(stranger):
    with pytest.raises(CommandError, match=r"no user “nobody”.*add_member"):
        call_command("sign_in_link", "nobody")
    with pytest.raises(CommandError, match="--hours 0"):
        call_command("sign_in_link", "stranger", hours=0)
    stranger.is_active = False
    stranger.save()
    with pytest.raises(CommandError, match="deactivated"):
        call_command("sign_in_link", "stranger")
