"""What all views of the API have in common: who may, lists in pages, answers once, ETags."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import Q, QuerySet
from django.utils.cache import get_conditional_response
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ..access import Right
from .access import ProjectPermission
from .once import HEADER, answer_once, check_key, fingerprint
from .renderers import JSONRenderer
from .throttles import EachToken, StartsWork

PER_PAGE, MOST_PER_PAGE = 50, 500
CURSOR_SALT = "prefloop.api.cursor"


class Conflict(APIException):
    """What was asked for is right, but not now."""

    status_code = 409
    default_code = "conflict"


class ApiView(APIView):
    permission_classes = [ProjectPermission]
    may: Right | None = None  # to look
    may_write: Right | None = "may_manage"  # to do anything else
    scope = "manage"  # of a token, to do anything else
    starts_work = False
    has_etag = False
    keeps_answers = True  # for an Idempotency-Key; not where the answer is a secret

    def get_throttles(self) -> list:
        return [EachToken(), *([StartsWork()] if self.starts_work else [])]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        key = request.headers.get(HEADER)
        if request.method == "POST" and key is not None and self.keeps_answers:
            once = partial(answer_once, request=request, key=check_key(key), sha256=fingerprint(request))
            handle = self.post
            self.post = lambda *args, **kwargs: once(handle=partial(handle, *args, **kwargs))

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.has_etag and request.method in SAFE_METHODS and response.status_code == 200 and hasattr(response, "data"):
            tag = f'"{sha256(JSONRenderer().render(response.data)).hexdigest()[:32]}"'
            response["ETag"] = tag
            unchanged = get_conditional_response(request._request, etag=tag)
            if unchanged is not None:
                return unchanged
        response.headers.setdefault("Cache-Control", "private, no-cache" if self.has_etag else "no-store")
        return response


def valid(serializer: serializers.Serializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


class PageIn(serializers.Serializer):
    """Which part of a list: in the query."""

    cursor = serializers.CharField(required=False, max_length=300, help_text="`next` of the page before; left out for the first.")
    limit = serializers.IntegerField(required=False, default=PER_PAGE, min_value=1, max_value=MOST_PER_PAGE)


def page_of(
    rows: QuerySet,
    request: Request,
    out: type[serializers.Serializer],
    *,
    by: str = "pk",
    newest_first: bool = True,
    **context: Any,
) -> Response:
    """A page of `rows` as `out` has them (see `cut_page`)."""
    page, more = cut_page(rows, request, by=by, newest_first=newest_first)
    return Response({"results": out(page, many=True, context=context).data, "next": more})


def cut_page(rows: QuerySet, request: Request, *, by: str = "pk", newest_first: bool = True) -> tuple[list, str | None]:
    """A page of `rows` in the order of `by`, a column that is unique among them, and the cursor of the next one. What comes in
    between moves nothing."""
    asked = valid(PageIn(data=request.query_params))
    if cursor := asked.get("cursor"):
        rows = rows.filter(**{f"{by}__{'lt' if newest_first else 'gt'}": _read_cursor(cursor)})
    found = list(rows.order_by(f"-{by}" if newest_first else by)[: asked["limit"] + 1])
    page = found[: asked["limit"]]
    more = signing.dumps(getattr(page[-1], by), salt=CURSOR_SALT) if len(found) > len(page) else None
    return page, more


def cut_page_by_time(rows: QuerySet, request: Request, *, by: str) -> tuple[list, str | None]:
    """As `cut_page`, the newest first, where ids tell no order: by a column of moments, and by id where two are the same."""
    asked = valid(PageIn(data=request.query_params))
    if cursor := asked.get("cursor"):
        moment, pk = _read_cursor(cursor, as_=lambda read: (datetime.fromisoformat(read[0]), UUID(read[1])))
        rows = rows.filter(Q(**{f"{by}__lt": moment}) | Q(**{by: moment, "pk__lt": pk}))
    found = list(rows.order_by(f"-{by}", "-pk")[: asked["limit"] + 1])
    page = found[: asked["limit"]]
    last = [getattr(page[-1], by).isoformat(), str(page[-1].pk)] if len(found) > len(page) else None
    return page, signing.dumps(last, salt=CURSOR_SALT) if last else None


def _read_cursor(cursor: str, as_: Callable[[Any], Any] = int) -> Any:
    try:
        return as_(signing.loads(cursor, salt=CURSOR_SALT))
    except (signing.BadSignature, ValueError, TypeError, LookupError):
        raise ValidationError({"cursor": ["Not a cursor of this API. Leave it out to start at the first page."]}) from None
