"""Who works in a project: add people, hand out sign-in links, change roles, remove."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from ..access import ProjectRequest, project_view
from ..forms import NewMemberForm, RoleForm
from ..member_links import create_link_for_member
from ..members import MemberRefused, add_member, change_role, remove_member
from ..models import Membership
from ..models.project import Role


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def members(request: ProjectRequest) -> HttpResponse:
    """The list. POST adds a person and shows their sign-in link, this once."""
    form = NewMemberForm(request.POST or None)
    if request.method != "POST":
        return render_members(request, form)
    if not form.is_valid():
        return render_members(request, form, status=422)
    try:
        membership = add_member(project=request.project, by=request.role, **form.cleaned_data)
    except MemberRefused as refusal:
        form.add_error("username", refusal.message)
        return render_members(request, form, status=422)
    return show_link(request, membership, added=True)


@never_cache
@require_POST
@project_view(may="may_manage")
def member_link(request: ProjectRequest, user_id: int) -> HttpResponse:
    """A new sign-in link for somebody, shown this once."""
    return show_link(request, find_member(request, user_id))


@require_POST
@project_view(may="may_manage")
def member_role(request: ProjectRequest, user_id: int) -> HttpResponse:
    membership = find_member(request, user_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        return render_members(request, NewMemberForm(), status=422, error="There is no such role.")
    try:
        change_role(project=request.project, user=membership.user, role=form.cleaned_data["role"], by=request.role)
    except MemberRefused as refusal:
        return render_members(request, NewMemberForm(), status=409, error=refusal.message)
    messages.success(request, f"{membership.user.get_full_name()} is now {Role(form.cleaned_data['role']).label.lower()}.")
    return redirect("members", request.project.slug)


@require_POST
@project_view(may="may_manage")
def member_remove(request: ProjectRequest, user_id: int) -> HttpResponse:
    membership = find_member(request, user_id)
    try:
        remove_member(project=request.project, user=membership.user, by=request.role)
    except MemberRefused as refusal:
        return render_members(request, NewMemberForm(), status=409, error=refusal.message)
    messages.success(request, f"{membership.user.get_full_name()} is no longer a member.")
    return redirect("projects") if membership.user_id == request.user.pk else redirect("members", request.project.slug)


def show_link(request: ProjectRequest, membership: Membership, added: bool = False) -> HttpResponse:
    person = membership.user
    try:
        link = create_link_for_member(membership=membership, by=request.user)
    except MemberRefused as refusal:
        if added:
            messages.success(request, f"{person.get_full_name()} has an account already, and is a member now.")
            return redirect("members", request.project.slug)
        return render_members(request, NewMemberForm(), status=409, error=refusal.message)
    return render_members(request, NewMemberForm(), person=person, link=link, link_hours=settings.SIGN_IN_LINK_HOURS)


def find_member(request: ProjectRequest, user_id: int) -> Membership:
    return get_object_or_404(request.project.memberships.select_related("user"), user__id=user_id)


def render_members(request: ProjectRequest, form: NewMemberForm, status: int = 200, **context: object) -> HttpResponse:
    context |= {
        "form": form,
        "memberships": request.project.memberships.select_related("user").order_by("joined_at", "pk"),
        "roles": Role.choices,
    }
    return render(request, "annotate/members.html", context, status=status)
