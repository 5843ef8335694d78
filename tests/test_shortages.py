"""A full disk, a directory that may only be read, a database that does not answer: one clear line on the terminal."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DatabaseError, OperationalError, ProgrammingError, connection

import manage
from annotate.shortages import Shortage, explain_shortage, shortage_of

OWNER = """
from annotate.models import Project, User
Project.objects.create(slug="p", name="P"); User.objects.create_user("o")
"""


@pytest.mark.parametrize(
    ("error", "shortage"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Shortage.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Shortage.DISK_FULL),
        (OperationalError("database or disk is full"), Shortage.DISK_FULL),
        (OperationalError('could not extend file "base/1": No space left on device'), Shortage.DISK_FULL),
        (PermissionError(errno.EACCES, "Permission denied"), Shortage.NOT_WRITABLE),
        (OSError(errno.EROFS, "Read-only file system"), Shortage.NOT_WRITABLE),
        (OperationalError("attempt to write a readonly database"), Shortage.DATABASE_READ_ONLY),
        (DatabaseError("cannot execute INSERT in a read-only transaction"), Shortage.DATABASE_READ_ONLY),
        (OperationalError("unable to open database file"), Shortage.DATABASE_READ_ONLY),
        (OperationalError("database is locked"), Shortage.DATABASE_LOCKED),
        (OperationalError("disk I/O error"), Shortage.DATABASE_FAILS),
        (DatabaseError("database disk image is malformed"), Shortage.DATABASE_FAILS),
        (OperationalError("no such table: annotate_project"), Shortage.DATABASE_EMPTY),
        (ProgrammingError('relation "annotate_project" does not exist'), Shortage.DATABASE_EMPTY),
        (OperationalError("connection refused"), Shortage.DATABASE_AWAY),
        (ProgrammingError('syntax error at or near "SELEKT"'), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (ZeroDivisionError(), None),
        (None, None),
    ],
)
def test_what_is_lacking_is_told_from_the_error(error, shortage):
    assert shortage_of(error) is shortage


def test_a_file_is_named_and_a_password_is_not(monkeypatch):
    assert explain_shortage(OSError(errno.ENOSPC, "No space left on device", "/data/x")).startswith("/data/x: No space left on ")
    database = {"NAME": "prefloop", "HOST": "db", "PORT": 5432, "USER": "u", "PASSWORD": "hidden"}
    monkeypatch.setitem(settings.DATABASES, "default", database)
    told = explain_shortage(OperationalError("connection to server failed:\n Is it running?"))
    assert told.startswith("The database prefloop on db:5432: connection to server failed: Is it running. See that ")


def run(directory: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "VAR_DIR": str(directory)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of sixteen megabytes with a database on it, and a way to mount it again with other options."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        for words in (("migrate", "-v0"), ("shell", "-v0", "-c", OWNER)):
            assert run(directory, *words).returncode == 0
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def fill(directory: Path) -> None:
    with pytest.raises(OSError, match="No space"), (directory / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def protect(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)


@pytest.mark.parametrize(("spoil", "words"), [(fill, "space"), (protect, "Let the user who runs Prefloop")])
def test_a_disk_that_takes_nothing_is_said_in_one_line(small_disk, spoil: Callable[[Path], None], words):
    spoil(small_disk)
    for command in (("add_member", "p", "anna"), ("sign_in_link", "o"), ("migrate", "annotate", "zero")):
        ended = run(small_disk, *command)
        assert ended.returncode == 1 and ended.stderr.startswith(f"CommandError: The database {small_disk}/prefloop.sqlite3: ")
        assert words in ended.stderr and ended.stderr.count("\n") == 1


def test_a_var_dir_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    ended = run(tmp_path / "file", "migrate")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"CommandError: {tmp_path}/file: File exists. ") and "VAR_DIR=" in ended.stderr


@pytest.mark.django_db(transaction=True)
def test_a_locked_database_is_said_in_one_line(project, monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL locks rows, not the database")
    monkeypatch.setattr(sys, "argv", ["manage.py", "add_member", project.slug, "anna"])
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "timeout": 0.1})
    connection.close()
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SystemExit) as ended:
            manage.main()
    finally:
        other.close()
    assert "database is locked. Another command writes to it" in ended.value.code


@pytest.mark.parametrize(
    ("error", "options"), [(ZeroDivisionError(), []), (OSError(errno.ENOSPC, "No space left on device"), ["--traceback"])]
)
def test_a_fault_of_ours_and_a_wish_for_a_traceback_get_one(monkeypatch, error, options):
    def failing(argv: list[str]) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["manage.py", "train", *options])
    monkeypatch.setattr("django.core.management.execute_from_command_line", failing)
    with pytest.raises(type(error)):
        manage.main()
