"""Keys of endpoints at rest: encrypted with a key that follows from SECRET_KEY, or read from the environment when needed."""

import base64
import os
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from training.endpoints.errors import EndpointError
from training.models import Endpoint


def encrypt_key(key: str) -> str:
    """What is stored. The same key gives another text each time."""
    return _fernet().encrypt(key.encode()).decode()


def read_key(endpoint: Endpoint) -> str:
    """The key in clear, "" if it has none. Raises EndpointError when it cannot be had."""
    if endpoint.key_variable:
        key = os.environ.get(endpoint.key_variable, "").strip()
        if not key:
            raise EndpointError(
                f"The environment variable {endpoint.key_variable}, which is to hold the key of {endpoint.name}, is not set "
                "where this runs. Set it for the web server and the workers, and start them again."
            )
        return key
    if not endpoint.encrypted_key:
        return ""
    try:
        return _fernet().decrypt(endpoint.encrypted_key.encode()).decode()
    except InvalidToken:
        raise EndpointError(
            f"The key of {endpoint.name} can no longer be read: SECRET_KEY has changed since. Type the key again on its page, "
            "or put the SECRET_KEY it was stored with into SECRET_KEY_FALLBACKS."
        ) from None


def _fernet() -> MultiFernet:
    """The first encrypts; those of former SECRET_KEYs still decrypt."""
    return MultiFernet([_one(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@lru_cache(maxsize=8)
def _one(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"prefloop endpoint keys").derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
