"""Invitation links: made and revoked by who manages a project, opened by whoever holds them.

Who made it vouches for it: a link opens nothing once its maker could not give that role any more.
"""

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.urls import reverse
from django.utils import timezone

from annotate.models import Invitation, Membership, Project, User
from annotate.models.project import Role
from annotate.people.members import MemberRefused, check_may_give
from annotate.people.sign_in import TOKEN_BYTES, sha256_of

MOST_DAYS = 90
MOST_USES = 1000


@transaction.atomic
def create_invitation(
    *, project: Project, by: Membership, role: Role | str, uses: int = 1, days: int = 7, note: str = ""
) -> tuple[Invitation, str]:
    """An invitation and the whole address of its link, which is shown here and never again. MemberRefused above `by`'s role."""
    check_may_give(by.role, role)
    if not (1 <= uses <= MOST_USES and 1 <= days <= MOST_DAYS):
        raise MemberRefused("out_of_range", f"An invitation is for 1 to {MOST_USES} people and lasts 1 to {MOST_DAYS} days.")
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # two at once take two numbers
    number = (project.invitations.aggregate(newest=Max("number"))["newest"] or 0) + 1
    token = secrets.token_urlsafe(TOKEN_BYTES)
    invitation = Invitation.objects.create(
        project=project, number=number, token_sha256=sha256_of(token), role=role, uses_allowed=uses, note=note.replace("\0", ""),
        by=by.user, expires_at=timezone.now() + timedelta(days=days),
    )  # fmt: skip
    return invitation, settings.BASE_URL + reverse("join", args=[token])


def find_invitation(*, token: str) -> Invitation | None:
    """The invitation, if it opens something now. None else: nobody learns why."""
    found = Invitation.objects.usable().select_related("project", "by").filter(token_sha256=sha256_of(token)).first()
    return found if found and not found.project.archived_at and _is_vouched_for(found) else None


@transaction.atomic
def accept_invitation(*, token: str, user: User) -> Membership | None:
    """Makes the user a member; None when the link opens nothing. A member already stays what they are, and no use is spent."""
    invitation = find_invitation(token=token)
    if invitation is None:
        return None
    known = Membership.objects.filter(project=invitation.project, user=user).first()
    if known:
        return known
    # Of many at once, the database lets through as many as there are uses left: it looks again as it writes.
    if not Invitation.objects.usable().filter(pk=invitation.pk).update(uses=F("uses") + 1):
        return None
    membership, joined = Membership.objects.get_or_create(
        project=invitation.project, user=user, defaults={"role": invitation.role}
    )
    if not joined:  # in another tab, at this moment
        Invitation.objects.filter(pk=invitation.pk).update(uses=F("uses") - 1)
    return membership


@transaction.atomic
def join_as_new_person(*, token: str, username: str, name: str, password: str) -> User | None:
    """A new account that is a member from the start; None when the link opens nothing: then there is no account either.

    Raises IntegrityError when the user name was taken at this moment."""
    if find_invitation(token=token) is None:
        return None
    user = User.objects.create_user(username, password=password, name=name)
    if accept_invitation(token=token, user=user) is None:
        transaction.set_rollback(True)
        return None
    return user


def revoke_invitation(*, invitation: Invitation, by: User) -> bool:
    """False when it was revoked before."""
    return bool(Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=timezone.now(), revoked_by=by))


def _is_vouched_for(invitation: Invitation) -> bool:
    vouching = Membership.objects.filter(project=invitation.project, suspended_at=None)
    maker = vouching.filter(user=invitation.by, user__is_active=True).first()
    if maker is None:
        return False
    try:
        check_may_give(maker.role, invitation.role)
    except MemberRefused:
        return False
    return True
