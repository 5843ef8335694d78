"""The list of one's projects, and a project's guidelines."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from ..access import ProjectRequest, project_view
from ..markdown import render as render_markdown
from ..project_list import list_memberships


@require_GET
def projects(request: HttpRequest) -> HttpResponse:
    return render(request, "annotate/projects.html", {"memberships": list_memberships(user=request.user)})


@require_GET
@project_view()
def guidelines(request: ProjectRequest) -> HttpResponse:
    return render(request, "annotate/guidelines.html", {"guidelines": render_markdown(request.project.guidelines, breaks=False)})
