"""What the installation lacks when an operation fails on our side: a full disk, a database that does not answer.

Told from the error, for pages and the API (annotate/views/errors.py) and for the terminal (manage.py).
"""

import errno
import re
from enum import Enum

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError


class Shortage(Enum):
    """What next, for whoever sits at the server's terminal."""

    DISK_FULL = "Free some space there, then run the command again; what was saved before is safe."
    NOT_WRITABLE = "Let the user who runs Prefloop write there, or choose another place: VAR_DIR=/some/directory."
    DATABASE_READ_ONLY = "Let the user who runs Prefloop write to it and to its directory, then run the command again."
    DATABASE_LOCKED = "Another command writes to it. Wait until that has ended, then run this one again."
    DATABASE_FAILS = "See that its disk has space left and is sound. A damaged file must come back from your backup."
    DATABASE_EMPTY = "Create its tables: .venv/bin/python manage.py migrate (`make run` does it by itself)."
    DATABASE_AWAY = "See that it runs and that DATABASE_URL is right, then run the command again."


NUMBERS = {
    Shortage.DISK_FULL: (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    Shortage.NOT_WRITABLE: (errno.EROFS, errno.EACCES, errno.EPERM),
}
# SQLite and PostgreSQL tell these in words only; the first that matches counts.
WORDS = {
    Shortage.DISK_FULL: r"disk is full|No space left",
    Shortage.DATABASE_READ_ONLY: r"readonly database|unable to open database file|read-only transaction",
    Shortage.DATABASE_LOCKED: r"database (table )?is locked|lock timeout",
    Shortage.DATABASE_FAILS: r"disk I/O error|malformed|file is not a database",
    Shortage.DATABASE_EMPTY: r'no such table|relation "\w+" does not exist',
}


def shortage_of(error: BaseException | None) -> Shortage | None:
    """None when the error is one of the program's own."""
    if isinstance(error, OSError):
        return next((kind for kind, numbers in NUMBERS.items() if error.errno in numbers), None)
    if isinstance(error, DatabaseError | InterfaceError):
        found = next((kind for kind, words in WORDS.items() if re.search(words, str(error))), None)
        return found or (Shortage.DATABASE_AWAY if isinstance(error, OperationalError | InterfaceError) else None)
    return None


def explain_shortage(error: BaseException) -> str | None:
    """What, where and what next, for the terminal; None when a traceback tells more."""
    shortage = shortage_of(error)
    if isinstance(error, FileExistsError | NotADirectoryError):  # VAR_DIR is a file
        shortage = Shortage.NOT_WRITABLE
    if shortage is None:
        return None
    if isinstance(error, OSError):
        where = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None) or _var_dir()
        return f"{where}: {error.strerror}. {shortage.value}"
    return f"The database {_database()}: {' '.join(str(error).split()).rstrip('.?')}. {shortage.value}"


def _var_dir() -> str:
    try:
        return str(settings.VAR_DIR)
    except (ImproperlyConfigured, OSError):
        return "VAR_DIR"


def _database() -> str:
    """A path, or a name and a host; never a password."""
    default = settings.DATABASES["default"]
    host = ":".join(str(default[key]) for key in ("HOST", "PORT") if default.get(key))
    return f"{default['NAME']} on {host}" if host else str(default["NAME"])
