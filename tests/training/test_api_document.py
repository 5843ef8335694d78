"""Every command of docs/api.md works as it is written there, one after the other."""

import re
import shlex
import uuid
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate.models import Comparison
from annotate.models.token import Scope
from annotate.people.tokens import create_token
from tests.builders import make_member

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
PAIRS = b'{"prompt": "Why?", "chosen": "a", "rejected": "b"}\n'
API = "/api/v1"


def commands() -> list[str]:
    found, lines = [], iter(DOCUMENT.splitlines())
    for line in lines:
        if line.strip().startswith("curl "):
            whole = line.strip()
            while whole.endswith("\\") or whole.count("'") % 2:
                whole = whole.removesuffix("\\") + " " + next(lines).strip()
            found.append(whole)
    return found


def expand(command: str, names: dict[str, str]) -> list[str]:
    """The words of a command with $NAMES as the shell has them: not within single quotes."""
    parts = re.split(r"('[^']*')", command)
    return shlex.split(
        "".join(part if part.startswith("'") else re.sub(r"\$(\w+)", lambda m: names[m[1]], part) for part in parts)
    )


def send(client, words: list[str]):
    """What curl would send."""
    method, headers, data, form, url = "", {}, None, {}, ""
    rest = iter(words[1:])
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, value = next(rest).split(": ", 1)
            headers[name] = value
        elif word == "-d":
            data = next(rest)
        elif word == "-F":
            name, value = next(rest).split("=", 1)
            form[name] = SimpleUploadedFile(value[1:], PAIRS) if value.startswith("@") else value
        else:
            assert not url and not word.startswith("-"), words
            url = word
    if form:
        return client.post(url, form, headers=headers)
    method = method or ("POST" if data is not None else "GET")
    kind = headers.pop("Content-Type", "application/json" if data is None else "none was given")
    return client.generic(method, url, data or "", content_type=kind, headers=headers)


@pytest.fixture
def names(project, tmp_path, settings) -> dict[str, str]:
    settings.VAR_DIR = tmp_path
    _, token = create_token(user=make_member(project, "owner", "olga"), name="curl", scopes=Scope.values)
    return {"TOKEN": token, "API": API, "JSON": "Content-Type: application/json", "P": f"{API}/projects/short-answers",
            "KEY": str(uuid.UUID(int=7))}  # fmt: skip


def test_every_command_works_in_their_order(client, names):
    found = commands()
    assert len(found) >= 15
    for command in found:
        answer = send(client, expand(command, names))
        assert answer.status_code < 300, (command, answer.status_code, answer.content)
        if "/next/" in command:
            names["ASSIGNMENT"] = answer.json()["assignment"]
            names["COMPARISON"] = str(Comparison.objects.get().pk)


def test_every_address_it_names_is_one():
    """`review/{comparison}/` and the like: each is an address of the API."""
    from annotate.api.about import document

    known = {re.sub(r"\{\w+\}", "{}", path) for path in document()["paths"]}
    named = set(re.findall(r"`(?:POST |PUT |PATCH |GET )?([a-z][\w{}-]*/(?:[\w{}./-]*/)?)`", DOCUMENT))
    assert len(named) > 25
    for path in named:
        wanted = re.sub(r"\{\w+\}", "{}", path)
        wanted = wanted.replace("/best/", "/{}/")
        assert any(each.endswith("/" + wanted) for each in known), path
