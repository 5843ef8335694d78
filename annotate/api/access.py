"""The same rule as `annotate.access`, for the API's views; and what a token may do at most."""

from django.http import Http404
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from ..access import Right, find_membership, why_refused
from ..models import Token
from ..models.project import Role
from ..models.token import Scope


class SignedIn(IsAuthenticated):
    """A person in their browser, or a token with the scope that the request needs: `read` to look; to do something, the
    view's `scope`, which is `manage` unless it says `judge`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        needed = scope_of(request.method, view)
        if isinstance(request.auth, Token) and not request.auth.allows(needed):
            raise PermissionDenied(f"This token lacks the scope “{needed}”. Make one that has it on your account page.", "scope")
        return True


class ProjectPermission(SignedIn):
    """Sets `request.project` and `request.role` from the URL's `slug`; the view names the rights to look and to change:

        class PromptsView(ApiView):
            may, may_write = "may_manage", "may_manage"

    404 to an outsider, 403 to a member whose role lacks the right.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        try:
            membership = find_membership(user=request.user, slug=view.kwargs["slug"])
        except Http404 as error:
            raise NotFound(str(error)) from None
        request.project, request.role = membership.project, Role(membership.role)
        if refusal := why_refused(membership, right_of(request.method, view)):
            raise PermissionDenied(refusal)
        return True


def scope_of(method: str, view: APIView) -> Scope:
    return Scope.READ if method in SAFE_METHODS else Scope(getattr(view, "scope", Scope.MANAGE))


def right_of(method: str, view: APIView) -> Right | None:
    return view.may if method in SAFE_METHODS else view.may_write
