"""What a version's page shows of its blind evaluations, with the form that starts one."""

from typing import Any

from django.db.models import Q

from training.evaluations.best_of_curve import curve_of, missing
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


def best_of_card(version: Version) -> dict[str, Any]:
    """The curve of a version that was trained here and has its files. Two queries."""
    if not version.run_id or version.is_removed:
        return {"best_of": None}
    curve = curve_of(version)
    asked = missing(curve)
    prompts = min(version.project.evaluation_prompts, version.project.prompts.heldout().count())
    return {
        "best_of": curve, "best_of_asked": any(point.evaluation for point in curve), "best_of_missing": asked if prompts else [],
        "best_of_prompts": prompts, "best_of_pairs": prompts * len(asked),
    }  # fmt: skip
