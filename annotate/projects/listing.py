"""The projects a person sees, each with how far it is. The same number of queries for one project and for thirty."""

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotate.models import Comparison, Judgement, Membership, User
from annotate.models.comparison import ComparisonState


def list_memberships(*, user: User) -> QuerySet[Membership]:
    """The person's memberships by project name, with `open`, `done` (as in `progress.Pairs`) and `judged` (their own)."""

    def number(rows: QuerySet, by: str) -> Coalesce:
        counted = rows.order_by().values(by).annotate(n=Count("pk")).values("n")
        return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

    comparisons = Comparison.objects.filter(project=OuterRef("project"))
    own = Judgement.objects.standing().filter(annotator=user, comparison__project=OuterRef("project"))
    return (
        Membership.objects.filter(user=user)
        .select_related("project")
        .annotate(
            open=number(comparisons.filter(state=ComparisonState.OPEN), "project"),
            done=number(comparisons.filter(state=ComparisonState.DONE), "project"),
            judged=number(own, "comparison__project"),
        )
        .order_by("project__name")
    )
