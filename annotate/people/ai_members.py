"""AI annotators as members: users without sign-in, marked, with the annotator's role; and what their judgements are for."""

from django.db import transaction

from annotate.models import Assignment, Membership, Project, User
from annotate.models.comparison import ComparisonState
from annotate.models.project import AiJudgements, Role
from annotate.queue.places import recount_places

AT_ONCE = 500


@transaction.atomic
def create_ai_member(*, project: Project, name: str) -> User:
    """A user who judges and can never sign in: no password, not active, so no link or token opens anything."""
    number = User.objects.filter(is_ai=True).count() + 1
    while User.objects.filter(username=f"ai-{number}").exists():
        number += 1
    user = User(username=f"ai-{number}", name=name, is_ai=True, is_active=False)
    user.set_unusable_password()
    user.save()
    Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
    return user


@transaction.atomic
def change_ai_judgements(*, project: Project, to: AiJudgements | str) -> int:
    """What AI judgements are for from now on, those that are there included. Returns of how many comparisons places were counted.

    Counted or not, a judgement keeps; what it takes of its comparison's places changes.
    """
    to = AiJudgements(to)
    locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    project.ai_judgements = to
    if locked.ai_judgements == to:
        return 0
    Project.objects.filter(pk=project.pk).update(ai_judgements=to)
    touched = Assignment.objects.filter(comparison__project=project, annotator__is_ai=True)
    found = project.comparisons.exclude(state=ComparisonState.RETIRED).filter(pk__in=touched.values("comparison"))
    locked_ids = list(found.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(locked_ids), AT_ONCE):
        recount_places(locked_ids[start : start + AT_ONCE])
    return len(locked_ids)
