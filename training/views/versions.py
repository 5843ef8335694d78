"""The pages of versions."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.queue.claims import outdated_pairs
from training.clock.automation import description_is_given_up
from training.datasets.filters import filters_in_words
from training.evaluations.best_of_curve import start_curve
from training.evaluations.card import best_of_card, evaluation_card
from training.evaluations.ordering import EvaluationRefused, start_evaluation
from training.forms import EvaluationForm, PromoteForm
from training.models import Version
from training.rewards.card import reward_card
from training.rewards.implicit import ScoringRefused, start_scoring
from training.versions.before_and_after import samples_of
from training.versions.cautions import standing_cautions
from training.versions.figures import figures_of
from training.versions.lineage import drawn_versions, lineage_of
from training.versions.provenance import pairs_written_by, people_of
from training.versions.registry import PromotionRefused, promote, serving_version
from training.versions.table import Asked
from training.versions.upkeep import why_not_removed
from training.views.project import STOP_POLLING

PER_PAGE = 30
HISTORY = 20  # promotions on the page of all versions
RETIRED = "Pairs of other versions that nobody has judged are retired; they come back when their version serves again."


def _find_version(request: ProjectRequest, number: int) -> Version:
    versions = request.project.versions.select_related(
        "parent", "run__dataset", "run__reference", "run__project", "project", "endpoint"
    )
    return get_object_or_404(versions, number=number)


@require_safe
@project_view(may="may_see_versions")
def versions(request: ProjectRequest) -> HttpResponse:
    asked = Asked.read(request.GET)
    found = asked.choose(Version.objects.of(request.project))
    rows = found.select_related("parent__project", "run__dataset", "run__project", "project").prefetch_related("aliases")
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    serving = serving_version(request.project)
    figures = figures_of(page.object_list)
    promotions = request.project.promotions.select_related("version__project", "by")[:HISTORY]
    context = {
        "page": page,
        "asked": asked,
        "archived": request.project.versions.exclude(archived_at=None).count(),
        "serving": serving,
        "figures": figures,
        "kl_known": any(row.kl is not None for row in figures),
        "lineage": lineage_of(drawn_versions(request.project), serving=serving),
        "promotions": promotions,
    }
    return render(request, "training/versions.html", context)


@require_safe
@vary_on_headers("HX-Request")
@project_view(may="may_see_versions")
def version(request: ProjectRequest, number: int) -> HttpResponse:
    return _version_page(request, _find_version(request, number), PromoteForm())


def _version_page(
    request: ProjectRequest, version: Version, form: PromoteForm, status: int = 200, evaluation_form: EvaluationForm | None = None
) -> HttpResponse:
    serving = serving_version(request.project)
    outdated = outdated_pairs(project=request.project, version_id=version.pk).count() if version != serving else 0
    base = request.project.versions.select_related("run__dataset", "project").order_by("number").first()
    compared = list(dict.fromkeys(v for v in (base, version.parent, version) if v))
    figures = figures_of(compared)
    context = {
        "version": version,
        "serving": serving,
        "outdated": outdated,
        "figures": figures,
        "kl_known": any(row.kl is not None for row in figures),
        "cautions": standing_cautions(version, base=base),
        "samples": samples_of(version, before=version.parent),
        "promotions": version.promotions.select_related("by"),
        "children": version.children.select_related("project").order_by("number"),
        "form": form,
        "path_below": f"var/{version.directory}",
        "aliases": list(version.aliases.all()),
        "standing_in_the_way": why_not_removed(version, serving=serving) if request.role.may_manage else "",
        "being_measured": any(not v.is_described and not description_is_given_up(v) for v in compared),
    }
    if request.htmx:
        status = 200 if context["being_measured"] else STOP_POLLING
        return render(request, "training/_version_live.html", context, status=status)
    context |= reward_card(version)
    context |= best_of_card(version)
    context["wrote"] = pairs_written_by(version)
    context |= evaluation_card(version, evaluation_form, serves=version == serving)
    if version.run_id:
        told = people_of(version.run.dataset, names=request.role.may_manage)
        names = {person.pk: person.name for person in told}
        context |= {"people": told, "filters": filters_in_words(version.run.dataset.filters, names=names)}
    return render(request, "training/version.html", context, status=status)


@require_POST
@project_view(may="may_manage")
def version_evaluate(request: ProjectRequest, number: int) -> HttpResponse:
    version = _find_version(request, number)
    serves = serving_version(request.project) == version
    form = EvaluationForm(request.POST, candidate=version, opponent=None, serves=serves)
    if form.is_valid():
        try:
            return redirect(start_evaluation(candidate=version, by=request.user, **form.cleaned_data))
        except EvaluationRefused as refusal:
            form.add_error(None, str(refusal))
    return _version_page(request, version, PromoteForm(), status=422, evaluation_form=form)


@require_POST
@project_view(may="may_manage")
def version_best_of(request: ProjectRequest, number: int) -> HttpResponse:
    version = _find_version(request, number)
    try:
        started = start_curve(version=version, by=request.user)
        told = "evaluation waits" if len(started) == 1 else "evaluations wait"
        messages.success(request, f"{len(started)} {told} for a worker. The pairs come to the annotators among all others.")
    except EvaluationRefused as refusal:
        messages.error(request, str(refusal))
    return redirect(f"{version.get_absolute_url()}#best-of")


@require_POST
@project_view(may="may_manage")
def version_promote(request: ProjectRequest, number: int) -> HttpResponse:
    version = _find_version(request, number)
    form = PromoteForm(request.POST)
    if not form.is_valid():
        return _version_page(request, version, form, status=422)
    try:
        promote(version=version, by=request.user, why=form.cleaned_data["why"])
    except PromotionRefused as refusal:
        messages.error(request, str(refusal))
        return redirect(version)
    messages.success(request, f"{version} serves now and writes the next pairs. {RETIRED}")
    return redirect(version)


@require_POST
@project_view(may="may_manage")
def version_score(request: ProjectRequest, number: int) -> HttpResponse:
    version = _find_version(request, number)
    try:
        start_scoring(version=version, by=request.user)
        messages.success(request, f"{version} scores what it has not scored yet as soon as a worker is free.")
    except ScoringRefused as refusal:
        messages.error(request, str(refusal))
    return redirect(version)
