"""An outsider cannot tell a project from nothing; a member learns that the role does not suffice."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from annotate.access import project_view
from annotate.api.access import ProjectPermission
from annotate.models.project import Role
from tests.builders import make_member

RIGHTS = {
    None: {"owner", "manager", "annotator", "viewer"},
    "may_manage": {"owner", "manager"},
    "may_judge": {"owner", "manager", "annotator"},
    "may_see_versions": {"owner", "manager", "viewer"},
}
CASES = [(may, role, role in allowed) for may, allowed in RIGHTS.items() for role in Role.values]


def open_page(rf, user, slug, may=None, **kwargs):
    @project_view(may=may)
    def page(request, **kwargs):
        return HttpResponse(f"{request.project.slug} {request.role.label} {kwargs}")

    request = rf.get("/")
    request.user = user
    return page(request, slug=slug, **kwargs)


def call_api(user, slug, right=None):
    class Page(APIView):
        permission_classes = [ProjectPermission]
        may = right

        def get(self, request, slug):
            return Response({"project": request.project.slug, "role": request.role})

    request = APIRequestFactory().get("/")
    if user is not None:
        force_authenticate(request, user)
    return Page.as_view()(request, slug=slug)


@pytest.mark.parametrize(("may", "role", "allowed"), CASES)
def test_each_right_and_role(rf, project, owner, may, role, allowed):
    member = make_member(project, role)
    if allowed:
        assert open_page(rf, member, "taste", may).content.decode().startswith(f"taste {Role(role).label}")
    else:
        with pytest.raises(PermissionDenied, match=Role(role).label):
            open_page(rf, member, "taste", may)
    assert call_api(member, "taste", may).status_code == (200 if allowed else 403)


def test_the_view_gets_the_rest_of_the_url(rf, project, annotator):
    assert open_page(rf, annotator, "taste", number=3).content == b"taste Annotator {'number': 3}"


def test_an_outsider_sees_the_same_as_for_no_project(rf, project, owner, stranger):
    messages = []
    for slug in ("taste", "nothing"):
        with pytest.raises(Http404) as error:
            open_page(rf, stranger, slug)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    theirs, nothing = call_api(stranger, "taste"), call_api(stranger, "nothing")
    assert theirs.status_code == nothing.status_code == 404
    assert theirs.data == nothing.data


def test_nobody_is_an_outsider(rf, project, owner):
    with pytest.raises(Http404):
        open_page(rf, AnonymousUser(), "taste")
    assert call_api(None, "taste").status_code == 401


def test_finding_the_project_is_one_query(rf, project, annotator, django_assert_num_queries):
    with django_assert_num_queries(1):
        open_page(rf, annotator, "taste", "may_judge")
