"""Invitation links: the managers' list, and the page that a link opens."""

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from annotate.people.invitations import (
    accept_invitation,
    create_invitation,
    find_invitation,
    join_as_new_person,
    revoke_invitation,
)
from annotate.people.members import MemberRefused

from ..access import ProjectRequest, project_view
from ..forms import InvitationForm, JoinForm
from ..models import Invitation, Membership
from ..models.project import Role
from .people import BACKEND

SHOWN = 20  # at once; older ones by key


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_manage")
def invitations(request: ProjectRequest) -> HttpResponse:
    """The list, newest first. POST makes one and shows its link, this once."""
    form = InvitationForm(request.POST or None)
    made, link = None, ""
    if request.method == "POST" and form.is_valid():
        try:
            made, link = create_invitation(project=request.project, by=request.membership, **form.cleaned_data)
            form = InvitationForm()
        except MemberRefused as refusal:
            form.add_error("role", refusal.message)
    before = request.GET.get("before", "")
    rows = request.project.invitations.select_related("by").order_by("-number")
    if before.isascii() and before.isdecimal() and len(before) < 10:
        rows = rows.filter(number__lt=int(before))
    page = list(rows[: SHOWN + 1])
    context = {
        "form": form,
        "made": made,
        "link": link,
        "invitations": page[:SHOWN],
        "older_than": page[SHOWN - 1].number if len(page) > SHOWN else None,
    }
    return render(request, "annotate/invitations.html", context, status=422 if form.errors else 200)


@require_POST
@project_view(may="may_manage")
def invitation_revoke(request: ProjectRequest, number: int) -> HttpResponse:
    invitation = get_object_or_404(request.project.invitations, number=number)
    if revoke_invitation(invitation=invitation, by=request.user):
        messages.success(request, f"Invitation {number} is revoked: its link opens nothing any more. Who has joined by it stays.")
    return redirect("invitations", request.project.slug)


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """What an invitation opens. Signed in: one button. Signed out: a new account, or sign in first and come back."""
    invitation = find_invitation(token=token)
    if invitation is None:
        return _spent(request)
    if not request.user.is_authenticated:
        return _join_as_new(request, token, invitation)
    if request.method == "POST":
        before = Membership.objects.filter(project=invitation.project, user=request.user).exists()
        membership = accept_invitation(token=token, user=request.user)
        return _welcome(request, membership, was_member=before) if membership else _spent(request)
    member = Membership.objects.filter(project=invitation.project, user=request.user).first()
    return render(request, "annotate/join.html", {"invitation": invitation, "member": member})


def _join_as_new(request: HttpRequest, token: str, invitation: Invitation) -> HttpResponse:
    form = JoinForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = join_as_new_person(token=token, **form.cleaned_data)
        except IntegrityError:
            form.add_error("username", "This name was taken a moment ago. Choose another.")
        else:
            if user is None:
                return _spent(request)
            login(request, user, backend=BACKEND)
            return _welcome(request, Membership.objects.select_related("project").get(project=invitation.project, user=user))
    status = 422 if request.method == "POST" else 200
    return render(request, "annotate/join.html", {"invitation": invitation, "form": form}, status=status)


def _welcome(request: HttpRequest, membership: Membership, was_member: bool = False) -> HttpResponse:
    role = Role(membership.role)
    if was_member:
        messages.info(request, f"You are in “{membership.project.name}” already ({role.label.lower()}).")
    else:
        messages.success(request, f"Welcome to “{membership.project.name}”. You are in it as {role.label.lower()}.")
    return redirect("project", membership.project.slug)


def _spent(request: HttpRequest) -> HttpResponse:
    return render(request, "annotate/join_spent.html", status=410)
