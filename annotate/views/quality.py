"""The quality page: for those who manage the project, since it names people."""

from datetime import date
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from annotate.quality.agreement import in_words
from annotate.quality.counts import AT_ONCE
from annotate.quality.figures import Figures, Person, Report, Share, nothing_yet, report_on
from annotate.quality.pictures import bars, positions, range_of, times
from annotate.quality.tables import TABLES, as_csv
from annotate.quality.tallies import FASTEST

from ..access import ProjectRequest, project_view

LARGEST_MATRIX = 24  # people; the file has all


@require_safe
@project_view(may="may_manage")
def quality(request: ProjectRequest) -> HttpResponse:
    report = report_on(request.project)
    context = {
        "report": report,
        "people": [
            (person, range_of(person.figures.left), range_of(person.agreeing), range_of(person.gold)) for person in report.people
        ],
        "has_gold": any(person.gold.of for person in report.people),
        "matrix": matrix(report),
        "alpha_choice_means": in_words(report.alpha_choice),
        "alpha_grade_means": in_words(report.alpha_grade),
        "flag_bars": bars(report.flags(request.project.flags)),
        "has_reliability": any(person.reliability is not None for person in report.people),
        "newest": AT_ONCE,
        "fastest": int(FASTEST),
    }
    return render(request, "annotate/quality.html", context | pictures_of(report.everybody))


@require_safe
@project_view(may="may_manage")
def quality_person(request: ProjectRequest, user_id: int) -> HttpResponse:
    """One person's figures, beside everybody's."""
    report = report_on(request.project)
    person = report.person(user_id) or nothing_yet(get_object_or_404(request.project.members, pk=user_id))
    shared = [(other, Share(*report.matrix[user_id, other.user.pk])) for other in report.people
              if (user_id, other.user.pk) in report.matrix]  # fmt: skip
    context = {
        "report": report,
        "person": person,
        "left": range_of(person.figures.left),
        "agreeing": range_of(person.agreeing),
        "shared": [(other, share, range_of(share)) for other, share in shared],
        "flag_bars": bars(sorted(person.figures.own.flags.items())),
        "fastest": int(FASTEST),
    }
    return render(request, "annotate/quality_person.html", context | pictures_of(person.figures))


def pictures_of(figures: Figures) -> dict[str, Any]:
    row, days = positions(figures.own), figures.days()
    return {
        "answer_bars": bars([(label, count) for label, _, count in row], [side for _, side, _ in row]),
        "time_bars": bars(times(figures.own.seconds)),
        "day_bars": day_bars(days),
        "busiest": max((count for _, count in days), default=0),
    }


@require_safe
@project_view(may="may_manage")
def quality_table(request: ProjectRequest, table: str) -> HttpResponse:
    if table not in TABLES:
        raise Http404("No such table.")
    answer = HttpResponse(as_csv(table, report_on(request.project)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{request.project.slug}-{table}.csv"'
    return answer


def day_bars(counts: list[tuple[date, int]]) -> list[Any]:
    days = [(f"{day.day} {day:%b}", count) for day, count in counts]
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
