"""What is said when no view answers: pages and programs alike hear what happened and what next, each in its own shape.

The API's views answer for themselves (annotate/api/errors.py); these are Django's handlers, for what reaches no view or
what a view did not expect.
"""

import sys
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults

from ..shortages import Shortage, shortage_of

SAFE = "Nothing of this was saved; what was saved before is safe."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return answer(400, "bad_request", "This request cannot be read. Check its address, its host and its headers.")
    return defaults.bad_request(request, exception)


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return answer(403, "permission_denied", "This is not open to you.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return answer(404, "not_found", f"There is no such address: {request.path}")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Called while the exception is handled: what the server lacks is a 503, to be tried again."""
    status, code, message = explain(sys.exc_info()[1])
    if is_api(request) or request.headers.get("Accept", "").startswith("application/json"):
        return answer(status, code, message)
    return render(None, "500.html", {"status": status, "message": message}, status=status)


def tell_wrong_method(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: whoever opens or reloads the address of a button in the browser gets a page, not an empty answer."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code != 405 or response.content or is_api(request):
            return response
        page = render(None, "405.html", {"back": _project_of(request.path)}, status=405)
        page["Allow"] = response["Allow"]
        return page

    return respond


def _project_of(path: str) -> str:
    """The address of the project that the path lies in, else of all projects."""
    first, *rest = path.strip("/").split("/")
    return f"/projects/{rest[0]}/" if first == "projects" and len(rest) > 1 else "/"


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def answer(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"code": code, "message": message, "fields": {}}, status=status)


def explain(error: BaseException | None) -> tuple[int, str, str]:
    """(status, code, message). The error itself is in the log only: it may hold what is nobody else's business."""
    match shortage_of(error):
        case None:
            message = (
                "What you had saved is safe. The error is in the server's log, with the time it happened. Try again in a moment."
            )
            return 500, "server_error", message
        case Shortage.DISK_FULL:
            message = f"The server's disk is full. {SAFE} Whoever runs it must free some space; then try again."
            return 503, "disk_full", message
        case Shortage.NOT_WRITABLE:
            message = f"The server may not write to its own directory. {SAFE} Whoever runs it must correct that."
            return 503, "not_writable", message
        case shortage:
            text = "may only be read" if shortage == Shortage.DATABASE_READ_ONLY else "does not answer at the moment"
            return 503, "database_away", f"The server's database {text}. {SAFE} Try again in a moment; its log says more."
