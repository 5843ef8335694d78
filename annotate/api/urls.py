"""Addresses of the collecting half's API. All of it is in the OpenAPI document at /api/v1/schema/."""

from django.urls import path

from .about import MeView, ReferenceView, SchemaView
from .judging import JudgementsView, NextView, ProgressView, RenewView, SkipView, UndoView

PROJECT = "api/v1/projects/<slug:slug>/"

urlpatterns = [
    path("api/v1/", ReferenceView.as_view(), name="api_reference"),
    path("api/v1/schema/", SchemaView.as_view(), name="api_schema"),
    path("api/v1/me/", MeView.as_view(), name="api_me"),
    path(PROJECT + "progress/", ProgressView.as_view(), name="api_progress"),
    path(PROJECT + "next/", NextView.as_view(), name="api_next"),
    path(PROJECT + "judgements/", JudgementsView.as_view(), name="api_judgements"),
    path(PROJECT + "skip/", SkipView.as_view(), name="api_skip"),
    path(PROJECT + "undo/", UndoView.as_view(), name="api_undo"),
    path(PROJECT + "renew/", RenewView.as_view(), name="api_renew"),
]
