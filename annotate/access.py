"""Who may open what: every page and every address of the API below a project comes through here.

An outsider cannot tell a project that is not theirs from one that does not exist (404). A member whose role lacks
the right is told so (403).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse

from .models import Membership, Project, User
from .models.kept_queries import Given, KeptQuery
from .models.project import Role

Right = Literal["may_manage", "may_judge", "may_see_versions"]


class ProjectRequest(HttpRequest):
    """What a view under `project_view` receives."""

    user: User
    project: Project
    membership: Membership
    role: Role


def find_membership(*, user: User | AnonymousUser, slug: str) -> Membership:
    """The user's membership of the project (its `project` is loaded too). One query. Raises Http404 to an outsider.

    It also has `edition`, the number of the project's guidelines (None when there are none).
    """
    if not user.is_authenticated:
        raise Http404("No such project.")
    if membership := _membership.first(slug=slug, user=user.pk):
        return membership
    raise Http404("No such project.")


_membership = KeptQuery(
    lambda: (
        Membership.objects.filter(project__slug=Given("slug", str), user=Given("user", int))
        .select_related("project")
        .annotate(edition=F("project__guidelines_edition__number"))
    )
)


def why_refused(membership: Membership, may: Right | None) -> str:
    """In words, why the member lacks the right; "" when they have it. Every member has the right None (to look).

    Who is suspended manages nothing. Their pages of work stay open: an answer on its way is still taken, and the queue
    tells them why it has nothing more.
    """
    role = Role(membership.role)
    if may is not None and not getattr(role, may):
        return f"Your role in this project ({role.label}) does not allow this."
    if membership.suspended_at and may == "may_manage":
        return "Your work in this project is suspended. An owner can let it go on."
    return ""


def project_view(*, may: Right | None = None) -> Callable:
    """Finds the project named by the URL's `slug` and lets the view run if the member's role carries `may`.

    The view is called without `slug`; it finds `request.project` and `request.role`:

        @require_GET
        @project_view(may="may_judge")
        def compare(request: ProjectRequest) -> HttpResponse: ...
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def checked(request: ProjectRequest, slug: str, *args: Any, **kwargs: Any) -> HttpResponse:
            membership = request.membership = find_membership(user=request.user, slug=slug)
            request.project, request.role = membership.project, Role(membership.role)
            if refusal := why_refused(membership, may):
                raise PermissionDenied(refusal)
            return view(request, *args, **kwargs)

        return checked

    return decorate
