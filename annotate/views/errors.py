"""What is said when a page or an address of the API fails on our side: pages and programs alike hear what and what next."""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from ..shortages import Shortage, shortage_of

SAFE = "Nothing of this was saved; what was saved before is safe."


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. It is called while the exception is handled: what the server lacks is a 503, to be tried again."""
    status, code, message = explain(sys.exc_info()[1])
    if request.path.startswith("/api/") or request.headers.get("Accept", "").startswith("application/json"):
        return JsonResponse({"code": code, "message": message, "fields": {}}, status=status)
    return render(None, "500.html", {"status": status, "message": message}, status=status)


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
