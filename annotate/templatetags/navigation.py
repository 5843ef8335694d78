"""What the bar at the top and the list of projects need to know about the person who looks at them."""

from typing import Any

from django import template
from django.urls import reverse

from annotate.models import Membership
from annotate.models.project import Role

register = template.Library()

SWITCH_LIMIT = 12


@register.simple_tag(takes_context=True)
def own_memberships(context: dict[str, Any]) -> list[Membership]:
    """The memberships of the signed-in person, for the switch; at most SWITCH_LIMIT."""
    user = context["request"].user
    if not user.is_authenticated:
        return []
    return list(Membership.objects.filter(user=user).select_related("project").order_by("project__name")[:SWITCH_LIMIT])


@register.filter
def home_url(membership: Membership) -> str:
    """Where a member lands: who judges blind at the comparisons, others on the project's page."""
    return reverse("project" if Role(membership.role).may_see_versions else "compare", args=[membership.project.slug])


@register.simple_tag(takes_context=True)
def current(context: dict[str, Any], *names: str) -> str:
    """`page` when the page shown has one of these URL names: the value of aria-current."""
    match = context["request"].resolver_match
    return "page" if match and match.url_name in names else "false"
