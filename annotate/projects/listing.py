"""The projects a person sees, each with how far it is. The same number of queries for one project and for thirty."""

from dataclasses import dataclass

from django.db.models import Count

from annotate.models import Judgement, Membership, Project, User
from annotate.projects.progress import Pairs, recent_pairs_of


@dataclass(frozen=True)
class Seat:
    """A person's place in a project."""

    membership: Membership
    pairs: Pairs
    judged: int  # their own judgements that stand

    @property
    def project(self) -> Project:
        return self.membership.project


def list_seats(*, user: User) -> list[Seat]:
    """By project name. Three queries."""
    memberships = list(Membership.objects.filter(user=user).select_related("project").order_by("project__name"))
    pairs = recent_pairs_of([membership.project_id for membership in memberships])
    own = Judgement.objects.standing().filter(annotator=user).order_by().values_list("comparison__project")
    judged = dict(own.annotate(n=Count("pk")))
    return [Seat(each, pairs[each.project_id], judged.get(each.project_id, 0)) for each in memberships]
