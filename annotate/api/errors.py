"""The one shape of an error: {"code": …, "message": …, "fields": {…}}."""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404
from rest_framework.exceptions import APIException, NotFound, ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The request is larger than this server takes. Send less at once."


class ShallowJSONParser(JSONParser):
    """JSON that is nested too deep to be read is bad input like any other."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep.") from None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, RequestDataTooBig):
        error = TooLarge()
    elif isinstance(error, Http404):
        error = NotFound(str(error))
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ValidationError):
        fields = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        response.data = {"code": "invalid", "message": "Some fields are not valid.", "fields": fields}
    else:
        detail = getattr(error, "detail", None)
        code = getattr(detail, "code", None) or "error"
        response.data = {"code": code, "message": str(detail or error), "fields": {}}
    return response
