"""Whose judgements are kept out of future datasets and exports. What was trained before stays as it is, and can be seen."""

from django.db import IntegrityError, transaction
from django.db.models import Count
from django.utils import timezone

from annotate.models import Exclusion, Project, User


def excluded_people(project: Project) -> frozenset[int]:
    """Ids of the people whose judgements count for nothing that is made from now on."""
    return frozenset(Exclusion.objects.standing().filter(project=project).values_list("person_id", flat=True))


def exclusions_mark(project: Project) -> str:
    """Changes whenever somebody is left out or let in again."""
    rows = Exclusion.objects.filter(project=project).aggregate(made=Count("pk"), lifted=Count("lifted_at"))
    return f"{rows['made']}.{rows['lifted']}"


def exclude_person(*, project: Project, person: User, why: str, by: User) -> Exclusion:
    """Doing it twice, or two managers at once, gives the one that stands."""
    try:
        with transaction.atomic():
            return Exclusion.objects.create(project=project, person=person, why=why.replace("\0", "").strip(), by=by)
    except IntegrityError:
        return Exclusion.objects.standing().get(project=project, person=person)


def lift_exclusion(*, project: Project, person: User, by: User) -> bool:
    """Their judgements count again, from the next dataset on. False when none stood."""
    standing = Exclusion.objects.standing().filter(project=project, person=person)
    return bool(standing.update(lifted_at=timezone.now(), lifted_by=by))
