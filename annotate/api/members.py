"""Members by program: the same functions as the page calls."""

from collections.abc import Callable

from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.consensus.exclusions import exclude_person, excluded_people, lift_exclusion
from annotate.people.members import (
    MemberRefused,
    add_member,
    change_role,
    end_suspension,
    find_person_named,
    remove_member,
    suspend_member,
)
from annotate.people.sign_in_links import create_link_for_member
from annotate.queue.claims import storable

from ..models import Membership
from ..models.project import Role
from .base import ApiView, Conflict, PageIn, page_of, valid
from .schema import paged


class MemberIn(serializers.Serializer):
    username = serializers.RegexField(r"^[\w.@+-]+\Z", max_length=150)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.ANNOTATOR)
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=100, help_text="Of a new person.")


class RoleIn(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices)


class MemberOut(serializers.Serializer):
    username = serializers.CharField(source="user.username")
    name = serializers.CharField(source="user.get_full_name")
    role = serializers.CharField()
    ai = serializers.BooleanField(source="user.is_ai", help_text="A model that judges; it cannot sign in.")
    suspended_at = serializers.DateTimeField(allow_null=True, help_text="Since then a member without work; null else.")
    joined_at = serializers.DateTimeField()
    last_signed_in_at = serializers.DateTimeField(source="user.last_login", allow_null=True)


class ExclusionIn(serializers.Serializer):
    why = serializers.CharField(max_length=2000, help_text="Kept with the date and your name.")


class ExclusionOut(serializers.Serializer):
    username = serializers.CharField()
    excluded = serializers.BooleanField()


class LinkOut(serializers.Serializer):
    link = serializers.CharField(help_text="Works once. It is shown here and never again.")
    hours = serializers.FloatField(help_text="How long it can be used.")


class MembersView(ApiView):
    may = "may_manage"

    @extend_schema(parameters=[PageIn], responses={200: paged(MemberOut)}, summary="Members")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(request.project.memberships.select_related("user"), request, MemberOut, newest_first=False)

    @extend_schema(request=MemberIn, responses={201: MemberOut}, summary="Add a member")
    def post(self, request: Request, slug: str) -> Response:
        """A person who is new here comes in by a sign-in link."""
        given = valid(MemberIn(data=request.data))
        try:
            membership = add_member(project=request.project, by=request.role, **given)
        except MemberRefused as refusal:
            raise Conflict(refusal.message, refusal.code) from None
        return Response(MemberOut(membership).data, status=status.HTTP_201_CREATED)


class MemberView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: MemberOut}, summary="A member")
    def get(self, request: Request, slug: str, username: str) -> Response:
        return Response(MemberOut(find_member(request, username)).data)

    @extend_schema(request=RoleIn, responses={200: MemberOut}, summary="Give a member another role")
    def patch(self, request: Request, slug: str, username: str) -> Response:
        membership = find_member(request, username)
        role = valid(RoleIn(data=request.data))["role"]
        try:
            changed = change_role(project=request.project, user=membership.user, role=role, by=request.role)
        except MemberRefused as refusal:
            raise Conflict(refusal.message, refusal.code) from None
        return Response(MemberOut(changed).data)

    @extend_schema(responses={204: None}, summary="Remove a member")
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """Their judgements stay and count."""
        try:
            remove_member(project=request.project, user=find_member(request, username).user, by=request.role)
        except MemberRefused as refusal:
            raise Conflict(refusal.message, refusal.code) from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class SuspensionView(ApiView):
    about = "members"

    @extend_schema(request=None, responses={200: MemberOut}, summary="Suspend a member")
    def put(self, request: Request, slug: str, username: str) -> Response:
        """They stay a member and get no more work; what they hold of the queue is given back."""
        return _changed(suspend_member, request, username)

    @extend_schema(responses={200: MemberOut}, summary="End a suspension")
    def delete(self, request: Request, slug: str, username: str) -> Response:
        return _changed(end_suspension, request, username)


class ExclusionView(ApiView):
    may = "may_manage"
    about = "members"

    @extend_schema(responses={200: ExclusionOut}, summary="Whether somebody's judgements are left out")
    def get(self, request: Request, slug: str, username: str) -> Response:
        person = find_person_named(project=request.project, username=storable(username))
        return Response({"username": person.username, "excluded": person.pk in excluded_people(request.project)})

    @extend_schema(request=ExclusionIn, responses={200: ExclusionOut}, summary="Leave somebody's judgements out")
    def put(self, request: Request, slug: str, username: str) -> Response:
        """All of them, of everything that is made from now on. Also of somebody who has left."""
        person = find_person_named(project=request.project, username=storable(username))
        exclude_person(project=request.project, person=person, by=request.user, **valid(ExclusionIn(data=request.data)))
        return Response({"username": person.username, "excluded": True})

    @extend_schema(responses={200: ExclusionOut}, summary="Let somebody's judgements count again")
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """From the next dataset on."""
        person = find_person_named(project=request.project, username=storable(username))
        lift_exclusion(project=request.project, person=person, by=request.user)
        return Response({"username": person.username, "excluded": False})


class MemberLinkView(ApiView):
    about = "members"
    keeps_answers = False  # a link is stored nowhere

    @extend_schema(request=None, responses={201: LinkOut}, summary="A sign-in link for a member")
    def post(self, request: Request, slug: str, username: str) -> Response:
        """Whoever holds it signs in as that member, once."""
        try:
            link = create_link_for_member(membership=find_member(request, username), by=request.user)
        except MemberRefused as refusal:
            raise Conflict(refusal.message, refusal.code) from None
        return Response({"link": link, "hours": settings.SIGN_IN_LINK_HOURS}, status=status.HTTP_201_CREATED)


def _changed(change: Callable[..., Membership], request: Request, username: str) -> Response:
    person = find_member(request, username).user
    try:
        return Response(MemberOut(change(project=request.project, user=person, by=request.role)).data)
    except MemberRefused as refusal:
        raise Conflict(refusal.message, refusal.code) from None


def find_member(request: Request, username: str) -> Membership:
    return get_object_or_404(request.project.memberships.select_related("user"), user__username=storable(username))
