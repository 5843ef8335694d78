"""The list of one's projects, a new one, and putting one away."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.projects.changes import create_project, may_create_projects, set_archived
from annotate.projects.listing import list_seats

from ..access import ProjectRequest, project_view
from ..forms import NewProjectForm
from ..models.project import Role


@require_GET
def projects(request: HttpRequest) -> HttpResponse:
    seats = list_seats(user=request.user)
    context = {
        "seats": [seat for seat in seats if not seat.project.archived_at],
        "archived": [seat for seat in seats if seat.project.archived_at],
        "may_create": may_create_projects(request.user),
    }
    return render(request, "annotate/projects.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: HttpRequest) -> HttpResponse:
    if not may_create_projects(request.user):
        raise PermissionDenied("Projects are made by people who own or manage one already. Ask one of them.")
    form = NewProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        project = create_project(by=request.user, **form.cleaned_data)
        messages.success(request, "The project is there, and you own it. Next: prompts on the Data page, people under Members.")
        return redirect(project)
    return render(request, "annotate/project_new.html", {"form": form}, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def project_archive(request: ProjectRequest) -> HttpResponse:
    """`archived` = "1" puts the project away, anything else takes it up again. For its owners."""
    if request.role != Role.OWNER:
        raise PermissionDenied("Only an owner of the project can archive it, or take it up again.")
    archived = request.POST.get("archived") == "1"
    set_archived(project=request.project, archived=archived)
    name = request.project.name
    messages.success(request, f"“{name}” is archived. Its owners can take it up again." if archived else f"“{name}” goes on.")
    return redirect("project_settings", request.project.slug)
