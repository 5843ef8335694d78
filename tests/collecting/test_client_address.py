"""Behind a reverse proxy: whose failed sign-ins are whose, and who is believed about it."""

import pytest
from django.urls import reverse

from annotate.people.client_address import client_address
from tests.builders import make_user

PASSWORD = "a long enough word"
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, PROXY),
        (0, "192.0.2.7", PROXY),
        (1, "192.0.2.7", "192.0.2.7"),
        (1, "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (1, "6.6.6.6,192.0.2.7:4711", "192.0.2.7"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (2, "6.6.6.6, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        (2, "192.0.2.7", PROXY),  # it did not come through both
        (1, None, PROXY),
        (1, "unknown", PROXY),
        (1, "192.0.2.7, ", PROXY),
        (-1, "192.0.2.7", PROXY),
    ],
)
def test_only_what_trusted_proxies_wrote_counts(rf, settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert client_address(rf.get("/", headers=headers, REMOTE_ADDR=PROXY)) == address


@pytest.fixture
def try_to_sign_in(client, settings, db):
    settings.AXES_FAILURE_LIMIT = 3
    make_user("olivia", password=PASSWORD)

    def attempt(password: str, forwarded: str) -> int:
        data = {"username": "olivia", "password": password}
        return client.post(reverse("sign_in"), data, headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR=PROXY).status_code

    return attempt


def test_by_default_nobody_is_believed(try_to_sign_in):
    assert [try_to_sign_in("wrong", f"192.0.2.{number}") for number in range(3)] == [422, 422, 429]
    assert try_to_sign_in(PASSWORD, "192.0.2.99") == 429


def test_behind_a_trusted_proxy_a_guesser_locks_only_themselves_out(try_to_sign_in, settings):
    settings.TRUSTED_PROXIES = 1
    assert [try_to_sign_in("wrong", f"6.6.6.{number}, 192.0.2.7") for number in range(3)] == [422, 422, 429]
    assert try_to_sign_in(PASSWORD, "192.0.2.7") == 429
    assert try_to_sign_in(PASSWORD, "192.0.2.99") == 302
