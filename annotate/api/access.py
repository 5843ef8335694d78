"""The same rule as `annotate.access`, for the API's views."""

from django.http import Http404
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from ..access import find_membership, is_allowed
from ..models.project import Role


class ProjectPermission(IsAuthenticated):
    """Sets `request.project` and `request.role` from the URL's `slug`; the view names its right in `may`:

        class JudgementView(APIView):
            permission_classes = [ProjectPermission]
            may = "may_judge"

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
        if not is_allowed(request.role, getattr(view, "may", None)):
            raise PermissionDenied(f"Your role in this project ({request.role.label}) does not allow this.")
        return True
