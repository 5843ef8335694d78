"""A project's guidelines: read, written, and what changed from edition to edition."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from annotate.projects.guidelines import GuidelinesChanged, mark_as_read, save_guidelines
from annotate.text.differences import compare_texts
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..forms import EditionForm, GuidelinesForm

EDITIONS_SHOWN = 20


@require_GET
@never_cache
@vary_on_headers("HX-Request")
@project_view()
def guidelines(request: ProjectRequest) -> HttpResponse:
    """The page, or its text alone (for the compare page's drawer). Who opens it has read it."""
    if request.membership.edition:
        mark_as_read(membership=request.membership, number=request.membership.edition)
    template = "annotate/_guidelines.html" if request.htmx else "annotate/guidelines.html"
    html = render_markdown(request.project.guidelines, breaks=False, headings_from=3 if request.htmx else 2)
    return render(request, template, {"guidelines": html})


@require_POST
@never_cache
@project_view()
def guidelines_read(request: ProjectRequest) -> HttpResponse:
    """The compare page's drawer was opened on this edition."""
    form = EditionForm(request.POST)
    if not form.is_valid():
        return HttpResponse("Say which edition was read, by its number.", status=422, content_type="text/plain")
    mark_as_read(membership=request.membership, number=form.cleaned_data["edition"])
    return HttpResponse(status=204)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def guidelines_edit(request: ProjectRequest) -> HttpResponse:
    number = request.membership.edition or 0
    form = GuidelinesForm(request.POST or None, initial={"text": request.project.guidelines, "based_on": number})
    theirs, status = None, 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            edition = save_guidelines(project=request.project, by=request.user, **form.cleaned_data)
        except GuidelinesChanged as changed:
            form.add_error(None, str(changed))
            form.data = form.data.copy()
            form.data["based_on"] = changed.newest.number
            theirs, status = compare_texts(_text_before(request, changed.newest.number), changed.newest.text), 409
        else:
            news = "Annotators are told on the compare page." if edition and edition.number != number else "Nothing had changed."
            messages.success(request, f"Saved. {news}")
            return redirect("guidelines", request.project.slug)
    return render(request, "annotate/guidelines_edit.html", {"form": form, "theirs": theirs}, status=status)


@require_GET
@project_view()
def guidelines_history(request: ProjectRequest) -> HttpResponse:
    """The editions, newest first (`?before=`: older ones), and what `?edition=` changed in the one before it."""
    editions = request.project.guidelines_editions.select_related("by").order_by("-number")
    asked = request.GET.get("edition", "")
    shown = get_object_or_404(editions, number=int(asked)) if _is_number(asked) else editions.first()
    before = request.GET.get("before", "")
    page = list((editions.filter(number__lt=int(before)) if _is_number(before) else editions)[: EDITIONS_SHOWN + 1])
    context = {
        "editions": page[:EDITIONS_SHOWN],
        "older_than": page[EDITIONS_SHOWN - 1].number if len(page) > EDITIONS_SHOWN else None,
        "shown": shown,
        "lines": compare_texts(_text_before(request, shown.number), shown.text) if shown else [],
    }
    return render(request, "annotate/guidelines_history.html", context)


def _text_before(request: ProjectRequest, number: int) -> str:
    before = request.project.guidelines_editions.filter(number=number - 1).first()
    return before.text if before else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9
