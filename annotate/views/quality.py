"""The quality page: for those who manage the project, since it names people."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ..access import ProjectRequest, project_view
from ..agreement import in_words
from ..pictures import bars, positions, range_of, times
from ..quality import FASTEST, NEWEST, Person, Report, Share, report_on
from ..quality_tables import TABLES, as_csv

LARGEST_MATRIX = 24  # people; the file has all


@require_safe
@project_view(may="may_manage")
def quality(request: ProjectRequest) -> HttpResponse:
    report = report_on(request.project)
    row = positions(report.answers)
    context = {
        "report": report,
        "people": [(person, range_of(person.figures.left), range_of(person.agreeing)) for person in report.people],
        "matrix": matrix(report),
        "alpha_choice_means": in_words(report.alpha_choice),
        "alpha_grade_means": in_words(report.alpha_grade),
        "answer_bars": bars([(label, count) for label, _, count in row], [side for _, side, _ in row]),
        "flag_bars": bars(report.flags(request.project.flags)),
        "time_bars": bars(times(report.everybody.seconds)),
        "day_bars": day_bars(report),
        "busiest": max((count for _, count in report.days()), default=0),
        "newest": NEWEST,
        "fastest": int(FASTEST),
    }
    return render(request, "annotate/quality.html", context)


@require_safe
@project_view(may="may_manage")
def quality_table(request: ProjectRequest, table: str) -> HttpResponse:
    if table not in TABLES:
        raise Http404("No such table.")
    answer = HttpResponse(as_csv(table, report_on(request.project)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{request.project.slug}-{table}.csv"'
    return answer


def day_bars(report: Report) -> list[Any]:
    days = [(f"{day.day} {day:%b}", count) for day, count in report.days()]
    return bars(days, label_every=max(1, (len(days) + 5) // 6))


def matrix(report: Report) -> dict[str, Any]:
    """Who agrees with whom, for a heat map: each cell with its share and a level from 0 to 10."""
    shared = {one for one, _ in report.matrix}
    judging = [person for person in report.people if person.user.pk in shared]
    shown = judging[:LARGEST_MATRIX]
    return {
        "people": shown,
        "left_out": len(judging) - len(shown),
        "rows": [(one, [_matrix_cell(report, one, other) for other in shown]) for one in shown],
    }


def _matrix_cell(report: Report, one: Person, other: Person) -> dict[str, Any] | None:
    found = report.matrix.get((one.user.pk, other.user.pk))
    if found is None:
        return None
    share = Share(*found)
    return {"share": share, "level": round(10 * share.value), "other": other}
