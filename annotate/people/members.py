"""Who belongs to a project. Only an owner gives or takes the owner's role, and a project never loses its last one."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone

from annotate.models import Judgement, Membership, Project, User
from annotate.models.project import Role
from annotate.queue.claims import release_leases


class MemberRefused(Exception):
    """A change of membership that was not made. `code` is for programs, `message` says why and what next."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@transaction.atomic
def add_member(*, project: Project, username: str, role: Role | str, name: str = "", by: Role | str = Role.OWNER) -> Membership:
    """Makes the user a member; someone unknown becomes a user without a password, who comes in by a sign-in link.

    `by` is the role of whoever asks. Adding a member again with the same role changes nothing; with another role
    it is refused (`change_role` does that).
    """
    role = _known(role)
    _check_owner_is_asked_by_owner(by, role)
    user = _find_or_create(username=username, name=name)
    membership, added = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if not added and membership.role != role:
        held = Role(membership.role).label.lower()
        raise MemberRefused("already_member", f"{user.username} is already in this project ({held}). Change the role instead.")
    return membership


@transaction.atomic
def change_role(*, project: Project, user: User, role: Role | str, by: Role | str = Role.OWNER) -> Membership:
    """Gives a member another role. Who may no longer judge gives back what they hold of the queue."""
    role = _known(role)
    membership = _lock_member(project=project, user=user)
    _check_owner_is_asked_by_owner(by, role, membership.role)
    if membership.role == Role.OWNER and role != Role.OWNER:
        _check_another_owner(project=project, user=user)
    membership.role = role
    membership.save(update_fields=["role"])
    if not role.may_judge:
        release_leases(project=project, annotator=user)
    return membership


@transaction.atomic
def remove_member(*, project: Project, user: User, by: Role | str = Role.OWNER) -> None:
    """Ends a membership. The judgements stay and count; what the person holds of the queue is given back."""
    membership = _lock_member(project=project, user=user)
    _check_owner_is_asked_by_owner(by, membership.role)
    if membership.role == Role.OWNER:
        _check_another_owner(project=project, user=user)
    membership.delete()
    release_leases(project=project, annotator=user)


@transaction.atomic
def suspend_member(*, project: Project, user: User, by: Role | str = Role.OWNER) -> Membership:
    """The member keeps the account and the membership and gets no work; what they hold of the queue is given back.

    An answer that was on its way is still taken, as a late one.
    """
    membership = _lock_member(project=project, user=user)
    _check_owner_is_asked_by_owner(by, membership.role)
    if membership.role == Role.OWNER:
        _check_another_owner(project=project, user=user)
    if membership.suspended_at is None:
        membership.suspended_at = timezone.now()
        membership.save(update_fields=["suspended_at"])
        release_leases(project=project, annotator=user)
    return membership


@transaction.atomic
def end_suspension(*, project: Project, user: User, by: Role | str = Role.OWNER) -> Membership:
    membership = _lock_member(project=project, user=user)
    _check_owner_is_asked_by_owner(by, membership.role)
    membership.suspended_at = None
    membership.save(update_fields=["suspended_at"])
    return membership


def find_person(*, project: Project, user_id: int) -> User:
    """A member, or somebody who has judged here and has left. Raises Http404 for anybody else."""
    return get_object_or_404(_known_here(project), pk=user_id)


def find_person_named(*, project: Project, username: str) -> User:
    """As `find_person`, by the name they sign in with."""
    return get_object_or_404(_known_here(project), username=username)


def _known_here(project: Project) -> QuerySet[User]:
    judged = Judgement.objects.filter(annotator=OuterRef("pk"), comparison__project=project)
    return User.objects.filter(Q(memberships__project=project) | Exists(judged)).distinct()


def check_may_give(by: Role | str, role: Role | str) -> None:
    """Raises MemberRefused unless who has the role `by` may make somebody a `role` here."""
    role = _known(role)
    if not Role(by).may_manage:
        raise MemberRefused("managers_only", "Only owners and managers of this project add people.")
    _check_owner_is_asked_by_owner(by, role)


def _known(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise MemberRefused("unknown_role", f"“{role}” is not a role. Choose one of: {', '.join(Role.values)}.") from None


def _check_owner_is_asked_by_owner(by: Role | str, *roles: Role | str) -> None:
    if Role.OWNER in roles and by != Role.OWNER:
        raise MemberRefused("owners_only", "Only an owner of this project can give or take the owner's role. Ask one of them.")


def _lock_member(*, project: Project, user: User) -> Membership:
    """The membership, with those of all owners locked in one order, so that two owners cannot leave at once."""
    rows = Membership.objects.select_for_update().filter(project=project).order_by("pk")
    list(rows.filter(role=Role.OWNER))
    membership = rows.filter(user=user).first()
    if membership is None:
        raise MemberRefused("not_a_member", f"{user.username} is not in this project.")
    return membership


def _check_another_owner(*, project: Project, user: User) -> None:
    owners = Membership.objects.filter(project=project, role=Role.OWNER, user__is_active=True, suspended_at=None)
    if not owners.exclude(user=user).exists():
        raise MemberRefused("last_owner", "A project needs an owner. Make somebody else an owner first.")


def _find_or_create(*, username: str, name: str) -> User:
    username = User.normalize_username(username.strip())
    new = User(username=username, name=name.strip())
    new.set_unusable_password()
    try:
        new.clean_fields()  # before anything is looked up: not every text may be sent to a database
    except ValidationError as error:
        raise MemberRefused("invalid", " ".join(error.messages)) from None
    user, _ = User.objects.get_or_create(username=username, defaults={"name": new.name, "password": new.password})
    return user
