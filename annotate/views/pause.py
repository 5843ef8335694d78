"""Pausing the work of a project, and letting it go on."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from annotate.queue.pausing import pause_project, resume_project

from ..access import ProjectRequest, project_view
from ..forms import PauseForm


@require_POST
@project_view(may="may_manage")
def project_pause(request: ProjectRequest) -> HttpResponse:
    form = PauseForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Nothing is paused: {form.errors['reason'][0]}")
        return redirect("project_settings", request.project.slug)
    pause_project(project=request.project, by=request.user, reason=form.cleaned_data["reason"])
    messages.success(request, "Paused. Nothing more is handed out; pairs that are on screens can still be answered.")
    return redirect("project_settings", request.project.slug)


@require_POST
@project_view(may="may_manage")
def project_resume(request: ProjectRequest) -> HttpResponse:
    resume_project(project=request.project)
    messages.success(request, "The work goes on.")
    return redirect("project_settings", request.project.slug)
