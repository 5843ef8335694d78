"""The project's page and its settings."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.forms import PauseForm
from annotate.projects.guidelines import mark_as_read
from annotate.projects.progress import progress_of
from annotate.text.markdown import render as render_markdown
from training.dpo.config import PRESETS
from training.forms import ProjectForm
from training.overview import overview_of
from training.runs.form import preset_choices

STOP_POLLING = 286


@require_safe
@vary_on_headers("HX-Request")
@project_view()
def project(request: ProjectRequest) -> HttpResponse:
    if not request.role.may_see_versions:
        if request.membership.edition:
            mark_as_read(membership=request.membership, number=request.membership.edition)
        progress = progress_of(project=request.project, annotator=request.user)
        guidelines = render_markdown(request.project.guidelines, breaks=False)
        return render(request, "training/project_annotator.html", {"progress": progress, "guidelines": guidelines})
    overview = overview_of(request.project)
    if request.htmx:
        return render(
            request, "training/_project_live.html", {"overview": overview}, status=200 if overview.busy else STOP_POLLING
        )
    presets = [(name, label, PRESETS[name].help) for name, label in preset_choices()]
    return render(request, "training/project.html", {"overview": overview, "presets": presets})


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def project_settings(request: ProjectRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None, instance=request.project)
    if request.method == "POST":
        if form.is_valid():
            form.save_settings()
            messages.success(request, "Saved.")
            return redirect("project_settings", request.project.slug)
        request.project.refresh_from_db()  # the bar at the top shows what is stored, not what was refused
    return render(
        request, "training/project_settings.html", {"form": form, "pause_form": PauseForm()}, status=422 if form.errors else 200
    )
