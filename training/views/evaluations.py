"""The pages of blind evaluations. Annotators never see one: they would know what they judge."""

import csv
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.quality.tables import cell
from training.evaluations.ordering import stop_evaluation
from training.evaluations.pictures import path_of, share_in, share_of
from training.evaluations.results import OUTCOMES, judged_results, results_table
from training.evaluations.standings import standing_of
from training.models import Evaluation
from training.models.job import JobState
from training.outlook import stuck_line, work_at_hand
from training.views.project import STOP_POLLING

PER_PAGE = 30
RESULTS_PER_PAGE = 10


def find_evaluation(request: ProjectRequest, number: int) -> Evaluation:
    found = request.project.evaluations.select_related("candidate__run", "opponent", "started_by", "project")
    return get_object_or_404(found, number=number)


@require_safe
@project_view(may="may_see_versions")
def evaluations(request: ProjectRequest) -> HttpResponse:
    found = request.project.evaluations.select_related("candidate", "opponent", "started_by", "project").order_by("-number")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = [(evaluation, share_of(evaluation)) for evaluation in page.object_list]
    return render(request, "training/evaluations.html", {"page": page, "rows": rows})


@require_safe
@vary_on_headers("HX-Request")
@project_view(may="may_see_versions")
def evaluation(request: ProjectRequest, number: int) -> HttpResponse:
    evaluation = find_evaluation(request, number)
    standing = standing_of(evaluation)
    context: dict[str, Any] = {
        "evaluation": evaluation,
        "standing": standing,
        "path": path_of(standing, evaluation.bar),
        "share": share_in(standing.figures(), evaluation.bar),
        "stuck": stuck_line(evaluation, "The evaluation"),
        "behind": work_at_hand(request.project) if evaluation.state == JobState.QUEUED else "",
    }
    if request.htmx:
        return render(request, "training/_evaluation_live.html", context, status=200 if evaluation.is_open else STOP_POLLING)
    if request.role.may_manage:
        only = request.GET.get("only", "")
        results = judged_results(standing, only=only)
        page = Paginator(results, RESULTS_PER_PAGE).get_page(request.GET.get("page"))
        context |= {
            "only": only if only in OUTCOMES else "",
            "outcomes": OUTCOMES,
            "page": page,
            "results": results_table(evaluation, page.object_list),
        }
    return render(request, "training/evaluation.html", context)


@require_safe
@project_view(may="may_manage")
def evaluation_table(request: ProjectRequest, number: int) -> HttpResponse:
    """A row for each prompt that has been judged."""
    evaluation = find_evaluation(request, number)
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{request.project.slug}-evaluation-{number}.csv"'
    writer = csv.writer(answer)
    writer.writerow(["prompt", "candidate", "opponent", "candidate_answer", "opponent_answer", "value", "judgements"])
    for row in results_table(evaluation, standing_of(evaluation).results):
        values = [row.prompt, evaluation.candidate_name, str(evaluation.opponent), row.ours, row.theirs, row.value, row.judged]
        writer.writerow([cell(value) for value in values])
    return answer


@require_POST
@project_view(may="may_manage")
def evaluation_stop(request: ProjectRequest, number: int) -> HttpResponse:
    evaluation = find_evaluation(request, number)
    if stop_evaluation(evaluation=evaluation):
        messages.success(request, "It ends here. What has been judged stays; the rest is out of the queue.")
    else:
        messages.warning(request, "It was over already.")
    return redirect(evaluation)
