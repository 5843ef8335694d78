"""Who works in a project: add people, hand out sign-in links, change roles, remove."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.consensus.exclusions import exclude_person, lift_exclusion
from annotate.people.activity import list_activity
from annotate.people.members import (
    MemberRefused,
    add_member,
    change_role,
    end_suspension,
    find_person,
    remove_member,
    suspend_member,
)
from annotate.people.sign_in_links import create_link_for_member
from annotate.quality.pictures import range_of

from ..access import ProjectRequest, project_view
from ..forms import ExclusionForm, NewMemberForm, RoleForm
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


@require_POST
@project_view(may="may_manage")
def member_suspend(request: ProjectRequest, user_id: int) -> HttpResponse:
    """`suspended` = "1" suspends, anything else ends it."""
    membership = find_member(request, user_id)
    suspends = request.POST.get("suspended") == "1"
    try:
        (suspend_member if suspends else end_suspension)(project=request.project, user=membership.user, by=request.role)
    except MemberRefused as refusal:
        messages.error(request, refusal.message)
    else:
        name = membership.user.get_full_name()
        messages.success(
            request, f"{name} is suspended and gets no more pairs." if suspends else f"{name} can go on with the work."
        )
    return redirect("member", request.project.slug, user_id)


@require_POST
@project_view(may="may_manage")
def member_exclude(request: ProjectRequest, user_id: int) -> HttpResponse:
    person = find_person(project=request.project, user_id=user_id)
    form = ExclusionForm(request.POST)
    if not form.is_valid():
        messages.error(
            request, f"Nothing was changed: {' '.join(form.errors.get('why', []))} “{request.POST.get('why', '')[:300]}”"
        )
    else:
        exclude_person(project=request.project, person=person, by=request.user, **form.cleaned_data)
        messages.success(request, f"The judgements of {person.get_full_name()} are left out of everything made from now on.")
    return redirect("member", request.project.slug, user_id)


@require_POST
@project_view(may="may_manage")
def member_include(request: ProjectRequest, user_id: int) -> HttpResponse:
    person = find_person(project=request.project, user_id=user_id)
    if lift_exclusion(project=request.project, person=person, by=request.user):
        messages.success(request, f"The judgements of {person.get_full_name()} count again, from the next dataset on.")
    return redirect("member", request.project.slug, user_id)


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
    activity = list_activity(request.project)
    context |= {
        "form": form,
        "activity": [(each, range_of(each.agreeing)) for each in activity],
        "has_gold": any(each.accuracy.of for each in activity),
        "roles": Role.choices,
    }
    return render(request, "annotate/members.html", context, status=status)
