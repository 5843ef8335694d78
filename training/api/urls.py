"""Addresses of the training half's API. All of it is in the OpenAPI document at /api/v1/schema/."""

from django.urls import path

from annotate.api.urls import PROJECT
from training.api import runs, versions

RUN, VERSION = PROJECT + "runs/<int:number>/", PROJECT + "versions/<int:number>/"

urlpatterns = [
    path(PROJECT + "runs/", runs.RunsView.as_view(), name="api_runs"),
    path(RUN, runs.RunView.as_view(), name="api_run"),
    path(RUN + "events/", runs.RunEventsView.as_view(), name="api_run_events"),
    path(RUN + "cancel/", runs.CancelRunView.as_view(), name="api_run_cancel"),
    path(RUN + "resume/", runs.ResumeRunView.as_view(), name="api_run_resume"),
    path(PROJECT + "versions/", versions.VersionsView.as_view(), name="api_versions"),
    path(VERSION, versions.VersionView.as_view(), name="api_version"),
    path(VERSION + "promote/", versions.PromoteVersionView.as_view(), name="api_version_promote"),
    path(VERSION + "files/", versions.VersionFilesView.as_view(), name="api_version_files"),
    path(VERSION + "files/<str:name>", versions.VersionFileView.as_view(), name="api_version_file"),
]
