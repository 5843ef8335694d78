"""Sign-in links that a manager hands out. A link is as good as the account: it must not open more than the manager has."""

from annotate.models import Membership, User
from annotate.models.project import Role
from annotate.people.members import MemberRefused
from annotate.people.sign_in import create_sign_in_link


def create_link_for_member(*, membership: Membership, by: User) -> str:
    """The address of a one-time link for the member (`annotate.people.sign_in`), or MemberRefused.

    It is made only when `by` manages every project the person is in, and owns those the person owns: whoever holds
    the link could do all that this person may do. Where `by` is suspended, they manage nothing. Their own link anybody may have.
    """
    person = membership.user
    if person.is_ai:
        raise MemberRefused("no_sign_in", f"{person.get_full_name()} is an AI annotator: it judges by itself and never signs in.")
    if person.pk != by.pk:
        own = dict(Membership.objects.filter(user=by, suspended_at=None).values_list("project_id", "role"))
        for project_id, role in Membership.objects.filter(user=person).values_list("project_id", "role"):
            mine = Role(own[project_id]) if project_id in own else None
            if person.is_superuser or mine is None or not mine.may_manage or (role == Role.OWNER and mine != Role.OWNER):
                raise MemberRefused(
                    "reaches_further",
                    f"{person.get_full_name()} may do things here or in another project that you may not, so you cannot make a "
                    "sign-in link for them. Whoever runs this server can: .venv/bin/python manage.py sign_in_link "
                    f"{person.username}",
                )
    return create_sign_in_link(user=person)
