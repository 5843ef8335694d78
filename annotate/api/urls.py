"""Addresses of the collecting half's API. All of it is in the OpenAPI document at /api/v1/schema/."""

from django.urls import path

from .about import MeView, ReferenceView, SchemaView
from .files import ExportView
from .judging import JudgementsView, NextView, ProgressView, RenewView, SkipView, UndoView
from .members import MemberLinkView, MembersView, MemberView
from .pairs import AllJudgementsView, ComparisonsView, ComparisonView, CompletionsView
from .prompts import PromptsView, PromptView
from .ratings import NextRatingView, PushRatingsView, RatingsView, UndoRatingView
from .webhooks import DeliveriesView, SendAgainView, WebhooksView, WebhookView

PROJECT = "api/v1/projects/<slug:slug>/"

urlpatterns = [
    path("api/v1/", ReferenceView.as_view(), name="api_reference"),
    path("api/v1/schema/", SchemaView.as_view(), name="api_schema"),
    path("api/v1/me/", MeView.as_view(), name="api_me"),
    path(PROJECT + "members/", MembersView.as_view(), name="api_members"),
    path(PROJECT + "members/<str:username>/", MemberView.as_view(), name="api_member"),
    path(PROJECT + "members/<str:username>/link/", MemberLinkView.as_view(), name="api_member_link"),
    path(PROJECT + "prompts/", PromptsView.as_view(), name="api_prompts"),
    path(PROJECT + "prompts/<int:id>/", PromptView.as_view(), name="api_prompt"),
    path(PROJECT + "completions/", CompletionsView.as_view(), name="api_completions"),
    path(PROJECT + "comparisons/", ComparisonsView.as_view(), name="api_comparisons"),
    path(PROJECT + "comparisons/<int:id>/", ComparisonView.as_view(), name="api_comparison"),
    path(PROJECT + "judgements/all/", AllJudgementsView.as_view(), name="api_judgements_all"),
    path(PROJECT + "export/", ExportView.as_view(), name="api_export"),
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
