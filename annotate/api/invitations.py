"""Invitation links by program: made, seen, revoked. Who opens one joins on the page, not here."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.people.invitations import MOST_DAYS, MOST_USES, create_invitation, revoke_invitation
from annotate.people.members import MemberRefused

from ..models import Invitation
from ..models.project import Role
from .base import ApiView, Conflict, PageIn, page_of, valid
from .schema import paged


class InvitationIn(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices, default=Role.ANNOTATOR, help_text="Not above yours.")
    uses = serializers.IntegerField(default=1, min_value=1, max_value=MOST_USES, help_text="How many may join by it.")
    days = serializers.IntegerField(default=7, min_value=1, max_value=MOST_DAYS, help_text="How long it works.")
    note = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=100, help_text="For whom it is. Shown to managers only."
    )


class InvitationOut(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username")
    state = serializers.CharField(help_text="open, or why it opens nothing any more: revoked, used up, expired.")

    class Meta:
        model = Invitation
        fields = ("number", "role", "uses", "uses_allowed", "note", "by", "state", "created_at", "expires_at", "revoked_at")


class NewInvitationOut(InvitationOut):
    link = serializers.CharField(help_text="Whoever holds it can join. It is shown here and never again.")

    class Meta(InvitationOut.Meta):
        fields = (*InvitationOut.Meta.fields, "link")


class InvitationsView(ApiView):
    may = "may_manage"
    keeps_answers = False  # a link is stored nowhere

    @extend_schema(parameters=[PageIn], responses={200: paged(InvitationOut)}, summary="Invitations, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(request.project.invitations.select_related("by"), request, InvitationOut, by="number")

    @extend_schema(
        request=InvitationIn,
        responses={201: NewInvitationOut},
        summary="Make an invitation",
        examples=[OpenApiExample("a team", value={"uses": 20, "days": 14, "note": "The new shift"}, request_only=True)],
    )
    def post(self, request: Request, slug: str) -> Response:
        """A link by which people join by themselves, with an account of their own. It opens nothing once its maker could not
        give that role any more."""
        given = valid(InvitationIn(data=request.data))
        by = request.project.memberships.select_related("user").get(user=request.user)
        try:
            invitation, link = create_invitation(project=request.project, by=by, **given)
        except MemberRefused as refusal:
            raise Conflict(refusal.message, refusal.code) from None
        invitation.link = link
        return Response(NewInvitationOut(invitation).data, status=status.HTTP_201_CREATED)


class InvitationView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: InvitationOut}, summary="An invitation")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(InvitationOut(_find(request, number)).data)


class RevokeInvitationView(ApiView):
    about = "invitations"

    @extend_schema(request=None, responses={200: InvitationOut}, summary="Revoke an invitation")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """Its link opens nothing any more. Who has joined by it stays. One that is revoked stays as it is."""
        revoke_invitation(invitation=_find(request, number), by=request.user)
        return Response(InvitationOut(_find(request, number)).data)


def _find(request: Request, number: int) -> Invitation:
    return get_object_or_404(request.project.invitations.select_related("by"), number=number)
