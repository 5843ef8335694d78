"""Django for a benchmark: a temporary VAR_DIR, and there a fresh SQLite database unless DATABASE_URL names another."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fresh_django() -> Iterator[str]:
    """Migrated and ready. Yields the database's vendor; imports of models must come after."""
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as directory:
        os.environ.update(VAR_DIR=directory, DJANGO_SETTINGS_MODULE="config.settings", LOG_LEVEL="WARNING")
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0)
        yield connection.vendor
        connection.close()
