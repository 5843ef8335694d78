"""The pages of AI annotators: a list with the form for a new one and what their judgements are for; one page for each."""

from django.contrib import messages
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotate.access import ProjectRequest, project_view
from annotate.people.ai_members import change_ai_judgements
from annotate.text.markdown import render as render_markdown
from training.ai.annotators import AiAnnotatorRefused, change_ai_annotator, create_ai_annotator
from training.ai.figures import figures_of
from training.ai.forms import AiAnnotatorForm, PurposeForm


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def ai_annotators(request: ProjectRequest) -> HttpResponse:
    form = AiAnnotatorForm(request.POST or None, project=request.project)
    if request.method == "POST" and form.is_valid():
        try:
            annotator = create_ai_annotator(project=request.project, by=request.user, **form.given())
        except AiAnnotatorRefused as refused:
            form.take(refused)
        else:
            messages.success(request, f"{annotator} judges as soon as a worker is free.")
            return redirect("ai_annotator", request.project.slug, annotator.pk)
    found = request.project.ai_annotators.select_related("user", "endpoint", "version").order_by("pk")
    context = {
        "annotators": [(each, figures_of(each)) for each in found],
        "form": form,
        "purpose": PurposeForm(initial={"ai_judgements": request.project.ai_judgements}),
    }
    return render(request, "training/ai_annotators.html", context, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def ai_purpose(request: ProjectRequest) -> HttpResponse:
    form = PurposeForm(request.POST)
    if form.is_valid():
        change_ai_judgements(project=request.project, to=form.cleaned_data["ai_judgements"])
        messages.success(request, "Saved. It holds for the judgements that are there, too.")
    else:
        messages.error(request, "Choose what their judgements are for.")
    return redirect("ai_annotators", request.project.slug)


@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def ai_annotator(request: ProjectRequest, annotator_id: int) -> HttpResponse:
    annotators = request.project.ai_annotators.select_related("user", "endpoint", "version", "project")
    found = get_object_or_404(annotators, pk=annotator_id)
    form = AiAnnotatorForm(request.POST or None, project=request.project, annotator=found)
    if request.method == "POST" and form.is_valid():
        try:
            change_ai_annotator(annotator=found, by=request.user, **form.given())
        except AiAnnotatorRefused as refused:
            form.take(refused)
        else:
            messages.success(request, "Saved. It holds from the next pair on.")
            return redirect("ai_annotator", request.project.slug, found.pk)
    context = {
        "annotator": found,
        "form": form,
        "figures": figures_of(found),
        "rubric": render_markdown(found.rubric.text),
        "sittings": found.sittings.order_by("-pk")[:10],
        "spent": found.sittings.aggregate(requests=Sum("requests"), cost=Sum("cost")),
        "skips": found.user.assignments.filter(state="skipped").exclude(skip_reason="").order_by("-skipped_at")[:5],
        "editions": found.rubrics.order_by("-number"),
    }
    return render(request, "training/ai_annotator.html", context, status=422 if form.errors else 200)
