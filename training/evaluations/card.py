"""What a version's page shows of its blind evaluations, with the form that starts one."""

from typing import Any

from django.db.models import Q

from training.evaluations.ordering import opponent_of
from training.evaluations.pictures import share_of
from training.forms import EvaluationForm
from training.models import Version

NEWEST = 8


def evaluation_card(version: Version, form: EvaluationForm | None = None, *, serves: bool) -> dict[str, Any]:
    """`form` is one that was refused. Two queries, and those of the form."""
    own = Q(candidate=version) | Q(opponent=version)
    found = version.project.evaluations.filter(own).select_related("candidate", "opponent", "project").order_by("-number")
    opponent = opponent_of(version)
    if form is None and (opponent or version.run_id):
        form = EvaluationForm(candidate=version, opponent=opponent, serves=serves)
    return {
        "evaluations": [(evaluation, share_of(evaluation)) for evaluation in found[:NEWEST]],
        "evaluation_form": form,
    }
