"""One person of a project, as those who manage it see them: their work, their state, and what was trained on it."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from annotate.access import ProjectRequest, project_view
from annotate.consensus.exclusions import excluded_people
from annotate.forms import ExclusionForm
from annotate.judging.own_work import own_figures
from annotate.models import Exclusion
from annotate.people.members import find_person
from training.datasets.trained_on import uses_of


@require_safe
@never_cache
@project_view(may="may_manage")
def member(request: ProjectRequest, user_id: int) -> HttpResponse:
    person = find_person(project=request.project, user_id=user_id)
    who = {"project": request.project, "person": person}
    context = {
        "person": person,
        "membership": request.project.memberships.filter(user=person).first(),
        "figures": own_figures(project=request.project, annotator=person),
        "has_judged": person.judgements.standing().filter(comparison__project=request.project).exists(),
        "is_excluded": person.pk in excluded_people(request.project),
        "exclusions": Exclusion.objects.filter(**who).select_related("by", "lifted_by").order_by("-pk"),
        "uses": uses_of(**who),
        "form": ExclusionForm(),
    }
    return render(request, "training/member.html", context)
