"""The leaderboard: all versions and imported models by everything that was judged."""

import csv

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.access import ProjectRequest, project_view
from annotate.quality.tables import cell
from training.leaderboard.counting import is_due, rows_of
from training.leaderboard.pictures import picture_of
from training.leaderboard.ratings import PRIOR
from training.models import Leaderboard

COLUMNS = (
    "rank", "name", "version", "rating", "rating_low", "rating_high", "win_rate", "win_low", "win_high", "wins", "ties", "losses",
)  # fmt: skip


@require_safe
@project_view(may="may_see_versions")
def leaderboard(request: ProjectRequest) -> HttpResponse:
    found = Leaderboard.objects.filter(project=request.project).first()
    rows = rows_of(found) if found else []
    picture = picture_of(rows) if rows else None
    waits = picture is None and is_due(request.project)  # else it says how old it is
    context = {"leaderboard": found, "picture": picture, "prior": PRIOR, "waits": waits}
    return render(request, "training/leaderboard.html", context)


@require_safe
@project_view(may="may_see_versions")
def leaderboard_table(request: ProjectRequest) -> HttpResponse:
    found = Leaderboard.objects.filter(project=request.project).first()
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{request.project.slug}-leaderboard.csv"'
    writer = csv.writer(answer)
    writer.writerow(COLUMNS)
    for row in rows_of(found) if found else []:
        values = [row.rank, row.name, row.version, row.rating, row.low, row.high, row.win_rate, *row.win_range]
        writer.writerow([cell(value) for value in (*values, row.wins, row.ties, row.losses)])
    return answer
