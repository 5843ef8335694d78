"""The cast every test may ask for."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache

from tests import builders

# Where one failure among many tries is the very thing looked for: these get no second one.
NEVER_TWICE = {
    "test_annotators_over_http.py",
    "test_blindness.py",
    "test_blindness_by_purpose.py",
    "test_concurrency.py",
    "test_distributed.py",
    "test_interrupted_generation.py",
    "test_resume.py",
    "test_round_trips.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Servers, workers, browsers and tests share two cores, and something may be slow once: a test gets a second try, which
    the summary names.
    """
    for item in items:
        if item.path.name not in NEVER_TWICE:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """No test finds what another has left in the cache: people of two tests have the same ids, and so one throttle."""
    yield
    cache.clear()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> None:
    """PostgreSQL's own cleaner looks at a test's tables between two tests, when they are empty, and plans for empty tables from
    then on. It leaves these alone.
    """
    from django.db import connection

    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            for table in connection.introspection.table_names():
                cursor.execute(f"ALTER TABLE {connection.ops.quote_name(table)} SET (autovacuum_enabled = false)")


@pytest.fixture
def project(db):
    return builders.make_project(slug="taste", name="Taste")


@pytest.fixture
def owner(project):
    return builders.make_member(project, "owner", "olivia")


@pytest.fixture
def manager(project):
    return builders.make_member(project, "manager", "marek")


@pytest.fixture
def annotator(project):
    return builders.make_member(project, "annotator", "anna")


@pytest.fixture
def viewer(project):
    return builders.make_member(project, "viewer", "victor")


@pytest.fixture
def stranger(db):
    return builders.make_user("stranger")
