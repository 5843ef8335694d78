"""`Idempotency-Key`: a POST that is sent again does its work once and gets the same answer, for a day.

The key is stored in the transaction of what the request does. A request that was refused changed nothing and leaves no
key, so it may be corrected and sent again with the same one.
"""

import hashlib
from collections.abc import Callable

from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils import json

from ..models import SentOnce
from .renderers import JSONRenderer

HEADER = "Idempotency-Key"
LONGEST = 255


class KeyReused(APIException):
    status_code = 422
    default_code = "key_reused"
    default_detail = f"This {HEADER} came with another request before. Take a new key for a new request."


def fingerprint(request: Request) -> str:
    """Call it before the body is parsed."""
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    digest.update(request._request.body)
    return digest.hexdigest()


def check_key(key: str) -> str:
    if not key.isascii() or not key.isprintable() or not 0 < len(key) <= LONGEST:
        raise ValidationError({HEADER: [f"1 to {LONGEST} printable ASCII characters; a UUID does well."]})
    return key


def answer_once(*, request: Request, key: str, sha256: str, handle: Callable[[], Response]) -> Response:
    """What `handle` answers; with the same key again, what it answered then. Raises KeyReused."""
    with transaction.atomic():
        SentOnce.objects.forgotten().filter(user=request.user, key=key).delete()
        try:
            with transaction.atomic():  # a second request at the same moment waits here for the first
                sent = SentOnce.objects.create(user=request.user, key=key, request_sha256=sha256)
        except IntegrityError:
            return _stored(SentOnce.objects.get(user=request.user, key=key), sha256)
        response = handle()
        if response.status_code >= 300:
            transaction.set_rollback(True)
        else:
            sent.status = response.status_code
            sent.answer = json.loads(JSONRenderer().render(response.data)) if response.data is not None else None
            sent.save(update_fields=["status", "answer"])
        return response


def _stored(sent: SentOnce, sha256: str) -> Response:
    if sent.request_sha256 != sha256:
        raise KeyReused
    return Response(sent.answer, status=sent.status, headers={"Idempotent-Replay": "true"})
