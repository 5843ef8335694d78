"""Endpoints of a project: adding, changing and removing them, and the version that stands for one."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from annotate.models import Project, User
from training.endpoints.keys import encrypt_key
from training.models import Endpoint, Version
from training.models.version import ADDED
from training.versions.registry import add_endpoint_version, promote

OURS = {"model", "messages", "stream", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "logprobs",
        "top_logprobs", "stream_options"}  # fmt: skip
SETTINGS = ("requests_per_minute", "concurrency", "timeout_seconds", "price_in", "price_out", "extra", "loads_adapters")


class EndpointRefused(Exception):
    """An endpoint that was not stored or removed; `fields` says what is wrong where."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__(" ".join(message for messages in fields.values() for message in messages))
        self.fields = fields


@transaction.atomic
def create_endpoint(
    *, project: Project, name: str, base_url: str, model: str, key: str = "", key_variable: str = "", by: User | None = None,
    **settings: Any,
) -> Endpoint:  # fmt: skip
    """A new endpoint; `key` is stored encrypted. Raises EndpointRefused."""
    endpoint = Endpoint(project=project, created_by=by)
    return _save(endpoint, name=name, base_url=base_url, model=model, key=key, key_variable=key_variable, settings=settings)


@transaction.atomic
def change_endpoint(
    *, endpoint: Endpoint, name: str, base_url: str, model: str, key: str = "", forget_key: bool = False, **settings: Any
) -> Endpoint:
    """Without `key` the stored one stays, but only for the same server: it is shown to nobody, and no new address learns it.

    A version that has written answers stays what it was: then another model is another endpoint. Raises EndpointRefused.
    """
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    elsewhere = origin_of(base_url) != origin_of(endpoint.base_url)
    if elsewhere and endpoint.has_key and not key and not forget_key:
        where = (
            "as an environment variable; add another endpoint" if endpoint.key_variable else "for another server; type it again"
        )
        raise EndpointRefused({"key": [f"The key was given {where}, so that it is not sent to a server it was not meant for."]})
    if endpoint.model != model.strip() and endpoint.versions.filter(completions__isnull=False).exists():
        raise EndpointRefused(
            {
                "model": [
                    f"{endpoint.model} has written answers here, and they stay its own. Add another endpoint for another model."
                ]
            }
        )
    if forget_key:
        endpoint.encrypted_key = endpoint.key_variable = ""
    variable = "" if key else endpoint.key_variable
    return _save(endpoint, name=name, base_url=base_url, model=model, key=key, key_variable=variable, settings=settings)


def _save(
    endpoint: Endpoint, *, name: str, base_url: str, model: str, key: str, key_variable: str, settings: dict[str, Any]
) -> Endpoint:
    if unknown := settings.keys() - set(SETTINGS):
        raise TypeError(f"not a setting of an endpoint: {', '.join(sorted(unknown))}")
    errors: dict[str, list[str]] = {}
    endpoint.name, endpoint.model = name.strip(), model.strip()
    endpoint.base_url, problem = _checked_url(base_url)
    if problem:
        errors["base_url"] = [problem]
    for field, value in settings.items():
        setattr(endpoint, field, value)
    if problem := _wrong_in_extra(endpoint.extra):
        errors["extra"] = [problem]
    endpoint.key_variable = key_variable.strip()
    if key.strip():
        endpoint.encrypted_key = encrypt_key(key.strip())
    try:
        endpoint.full_clean(exclude=["created_by", "extra", "features"])
    except ValidationError as refused:
        errors = {("name" if field == "__all__" else field): list(told) for field, told in refused.message_dict.items()} | errors
    if errors:
        raise EndpointRefused(errors)
    endpoint.features = {}  # what the last test showed may no longer be so
    try:
        with transaction.atomic():
            endpoint.save()
    except IntegrityError:  # somebody else was quicker
        raise EndpointRefused({"name": ["This project has an endpoint of that name by now. Take another."]}) from None
    return endpoint


def _checked_url(base_url: str) -> tuple[str, str]:
    """The address without its last slash, and what is wrong with it."""
    url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises on one that is no number
    except ValueError:
        return url, "This is not an address. It looks like http://127.0.0.1:8000/v1."
    if parts.scheme not in ("http", "https") or not parts.hostname or any(each.isspace() for each in url):
        return url, "Give an address that begins with http:// or https://, such as http://127.0.0.1:8000/v1."
    if parts.username or parts.password:
        return url, "Leave the key out of the address: it has a field of its own, where it is kept encrypted."
    if parts.query or parts.fragment:
        return url, "Give the address up to /v1, without ? and #."
    return url, ""


def origin_of(base_url: str) -> tuple[str, str, int | None]:
    """Which server an address means: scheme, host, port."""
    try:
        parts = urlsplit(base_url.strip())
        return parts.scheme, (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", base_url, None


def _wrong_in_extra(extra: Any) -> str:
    if not isinstance(extra, dict):
        return 'Give a JSON object, such as {"top_k": 50}.'
    if taken := sorted(OURS & extra.keys()):
        return f"{', '.join(taken)}: set by Prefloop, or in the project's settings. Leave it out here."
    if any("\0" in text for text in _texts(extra)):
        return "It holds a NUL character, which cannot be stored. Leave it out."
    try:
        json.dumps(extra, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return "It holds a number or a character that JSON does not have, such as NaN. Leave it out."
    return ""


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value if isinstance(value, list) else [*value, *value.values()]:
            yield from _texts(inner)


@transaction.atomic
def serve_endpoint(*, endpoint: Endpoint, by: User | None = None) -> Version:
    """Its version, which writes the pairs from now on."""
    version = add_endpoint_version(endpoint=endpoint)
    promote(version=version, by=by, why=ADDED if not version.promotions.exists() else "")
    return version


def remove_endpoint(*, endpoint: Endpoint) -> None:
    """Raises EndpointRefused while a version stands for it: its answers know it."""
    try:
        endpoint.delete()
    except ProtectedError:
        version = endpoint.versions.first()
        told = f"{version} of this project is {endpoint.name}" if version else f"{endpoint.name} is in use"
        raise EndpointRefused({"name": [f"{told}, so it stays. Take its key away if it is not to be asked any more."]}) from None
