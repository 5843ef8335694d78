"""Addresses of the collecting half's API. All of it is in the OpenAPI document at /api/v1/schema/."""

from django.urls import path

from .about import MeView, ReferenceView, SchemaView
from .gold import ExcuseView, GoldListView, GoldPeopleView, GoldView
from .guidelines import EditionsView, EditionView, GuidelinesView, ReadGuidelinesView
from .handouts import HandoutsView, HandoutView, ReleaseHandoutView
from .invitations import InvitationsView, InvitationView, RevokeInvitationView
from .judging import JudgementsView, NextView, ProgressView, RenewView, SkipView, UndoView
from .members import ExclusionView, MemberLinkView, MembersView, MemberView, SuspensionView
from .pairs import AllJudgementsView, ComparisonsView, ComparisonView, CompletionsView
from .pause import PauseView
from .prompts import PromptsView, PromptView
from .ratings import NextRatingView, PushRatingsView, RatingsView, UndoRatingView
from .review import DecideView, DecisionsView, DecisionView, ReviewCaseView, ReviewView
from .webhooks import DeliveriesView, SendAgainView, WebhooksView, WebhookView

PROJECT = "api/v1/projects/<slug:slug>/"
MEMBER, CASE = PROJECT + "members/<str:username>/", PROJECT + "review/<int:comparison>/"

urlpatterns = [
    path("api/v1/", ReferenceView.as_view(), name="api_reference"),
    path("api/v1/schema/", SchemaView.as_view(), name="api_schema"),
    path("api/v1/me/", MeView.as_view(), name="api_me"),
    path(PROJECT + "members/", MembersView.as_view(), name="api_members"),
    path(MEMBER, MemberView.as_view(), name="api_member"),
    path(MEMBER + "link/", MemberLinkView.as_view(), name="api_member_link"),
    path(MEMBER + "suspension/", SuspensionView.as_view(), name="api_member_suspension"),
    path(MEMBER + "exclusion/", ExclusionView.as_view(), name="api_member_exclusion"),
    path(PROJECT + "invitations/", InvitationsView.as_view(), name="api_invitations"),
    path(PROJECT + "invitations/<int:number>/", InvitationView.as_view(), name="api_invitation"),
    path(PROJECT + "invitations/<int:number>/revoke/", RevokeInvitationView.as_view(), name="api_invitation_revoke"),
    path(PROJECT + "guidelines/", GuidelinesView.as_view(), name="api_guidelines"),
    path(PROJECT + "guidelines/read/", ReadGuidelinesView.as_view(), name="api_guidelines_read"),
    path(PROJECT + "guidelines/editions/", EditionsView.as_view(), name="api_editions"),
    path(PROJECT + "guidelines/editions/<int:number>/", EditionView.as_view(), name="api_edition"),
    path(PROJECT + "pause/", PauseView.as_view(), name="api_pause"),
    path(PROJECT + "gold/", GoldListView.as_view(), name="api_gold_list"),
    path(PROJECT + "gold/<int:id>/", GoldView.as_view(), name="api_gold"),
    path(PROJECT + "gold/people/", GoldPeopleView.as_view(), name="api_gold_people"),
    path(PROJECT + "gold/people/<str:username>/excuse/", ExcuseView.as_view(), name="api_gold_excuse"),
    path(PROJECT + "handouts/", HandoutsView.as_view(), name="api_handouts"),
    path(PROJECT + "handouts/<int:number>/", HandoutView.as_view(), name="api_handout"),
    path(PROJECT + "handouts/<int:number>/release/", ReleaseHandoutView.as_view(), name="api_handout_release"),
    path(PROJECT + "review/", ReviewView.as_view(), name="api_review"),
    path(PROJECT + "review/decisions/", DecisionsView.as_view(), name="api_decisions"),
    path(CASE, ReviewCaseView.as_view(), name="api_review_case"),
    path(CASE + "decisions/", DecideView.as_view(), name="api_decide"),
    path(CASE + "decisions/<int:decision>/", DecisionView.as_view(), name="api_decision"),
    path(PROJECT + "prompts/", PromptsView.as_view(), name="api_prompts"),
    path(PROJECT + "prompts/<int:id>/", PromptView.as_view(), name="api_prompt"),
    path(PROJECT + "completions/", CompletionsView.as_view(), name="api_completions"),
    path(PROJECT + "comparisons/", ComparisonsView.as_view(), name="api_comparisons"),
    path(PROJECT + "comparisons/<int:id>/", ComparisonView.as_view(), name="api_comparison"),
    path(PROJECT + "judgements/all/", AllJudgementsView.as_view(), name="api_judgements_all"),
    path(PROJECT + "webhooks/", WebhooksView.as_view(), name="api_webhooks"),
    path(PROJECT + "webhooks/<int:id>/", WebhookView.as_view(), name="api_webhook"),
    path(PROJECT + "webhooks/<int:id>/deliveries/", DeliveriesView.as_view(), name="api_deliveries"),
    path(PROJECT + "webhooks/<int:id>/deliveries/<int:delivery>/again/", SendAgainView.as_view(), name="api_delivery_again"),
    path(PROJECT + "progress/", ProgressView.as_view(), name="api_progress"),
    path(PROJECT + "next/", NextView.as_view(), name="api_next"),
    path(PROJECT + "judgements/", JudgementsView.as_view(), name="api_judgements"),
    path(PROJECT + "skip/", SkipView.as_view(), name="api_skip"),
    path(PROJECT + "undo/", UndoView.as_view(), name="api_undo"),
    path(PROJECT + "ratings/", RatingsView.as_view(), name="api_ratings"),
    path(PROJECT + "ratings/next/", NextRatingView.as_view(), name="api_rating_next"),
    path(PROJECT + "ratings/undo/", UndoRatingView.as_view(), name="api_rating_undo"),
    path(PROJECT + "ratings/push/", PushRatingsView.as_view(), name="api_ratings_push"),
    path(PROJECT + "renew/", RenewView.as_view(), name="api_renew"),
]
