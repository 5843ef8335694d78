"""The pages of endpoints: a list with the form for a new one, and one page for each."""

from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.access import ProjectRequest, project_view
from training.endpoints.errors import EndpointError
from training.endpoints.forms import EndpointForm
from training.endpoints.probe import PATIENCE, probe_endpoint
from training.endpoints.registering import EndpointRefused, change_endpoint, create_endpoint, remove_endpoint, serve_endpoint
from training.models import Endpoint
from training.versions.registry import serving_version


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def endpoints(request: ProjectRequest) -> HttpResponse:
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            endpoint = create_endpoint(project=request.project, by=request.user, **form.cleaned_data)
        except EndpointRefused as refused:
            form.take(refused)
        else:
            messages.success(request, f"{endpoint} is stored. Test it next.")
            return redirect("endpoint", request.project.slug, endpoint.pk)
    found = request.project.endpoints.prefetch_related("versions").order_by("name")
    context = {"endpoints": found, "form": form, "serving": serving_version(request.project)}
    return render(request, "training/endpoints.html", context, status=422 if form.errors else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def endpoint(request: ProjectRequest, endpoint_id: int) -> HttpResponse:
    found = _find(request, endpoint_id)
    form = EndpointForm(request.POST or None, endpoint=found)
    if request.method == "POST" and form.is_valid():
        try:
            change_endpoint(endpoint=found, **form.cleaned_data)
        except EndpointRefused as refused:
            form.take(refused)
        else:
            messages.success(request, "Saved. Test it again: what it offers may have changed.")
            return redirect("endpoint", request.project.slug, found.pk)
    version = found.versions.first()
    generations = request.project.generations.filter(version=version) if version else request.project.generations.none()
    spent = generations.aggregate(
        requests=Sum("requests"),
        prompt=Sum("prompt_tokens"),
        completion=Sum("completion_tokens"),
        cost=Sum("cost"),
        all=Count("pk"),
    )
    context = {
        "endpoint": found, "form": form, "version": version, "serving": serving_version(request.project), "spent": spent,
        "generations": generations.order_by("-pk")[:10],
    }  # fmt: skip
    return render(request, "training/endpoint.html", context, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def endpoint_test(request: ProjectRequest, endpoint_id: int) -> HttpResponse:
    found = _find(request, endpoint_id)
    try:
        probe_endpoint(found, patience=PATIENCE)
    except EndpointError:
        pass  # it is stored, and shown on the page
    else:
        messages.success(request, f"{found} answers.")
    return redirect("endpoint", request.project.slug, found.pk)


@require_POST
@project_view(may="may_manage")
def endpoint_serve(request: ProjectRequest, endpoint_id: int) -> HttpResponse:
    version = serve_endpoint(endpoint=_find(request, endpoint_id), by=request.user)
    messages.success(request, f"{version} serves now: {version.name} writes the next pairs.")
    return redirect(version)


@require_POST
@project_view(may="may_manage")
def endpoint_remove(request: ProjectRequest, endpoint_id: int) -> HttpResponse:
    found = _find(request, endpoint_id)
    try:
        remove_endpoint(endpoint=found)
    except EndpointRefused as refused:
        messages.error(request, str(refused))
        return redirect("endpoint", request.project.slug, found.pk)
    messages.success(request, f"{found} is removed.")
    return redirect("endpoints", request.project.slug)


def _find(request: ProjectRequest, endpoint_id: int) -> Endpoint:
    return get_object_or_404(request.project.endpoints, pk=endpoint_id)
