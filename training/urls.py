"""Addresses of the training half: the project's page, its runs and its versions, and the same for scripts."""

from django.urls import path

from training.api.urls import urlpatterns as api
from training.views import ai_annotators, endpoints, evaluations, leaderboard, people, project, runs, train, upkeep, versions

urlpatterns = [
    path("projects/<slug:slug>/", project.project, name="project"),
    path("projects/<slug:slug>/train/", train.train, name="train"),
    path("projects/<slug:slug>/members/<int:user_id>/", people.member, name="member"),
    path("projects/<slug:slug>/settings/", project.project_settings, name="project_settings"),
    path("projects/<slug:slug>/runs/", runs.runs, name="runs"),
    path("projects/<slug:slug>/runs/compare/", runs.runs_compare, name="runs_compare"),
    path("projects/<slug:slug>/runs/<int:number>/", runs.run, name="run"),
    path("projects/<slug:slug>/runs/<int:number>/curves.<slug:suffix>", runs.run_curves, name="run_curves"),
    path("projects/<slug:slug>/runs/<int:number>/events.json", runs.run_events, name="run_events"),
    path("projects/<slug:slug>/runs/<int:number>/cancel/", runs.run_cancel, name="run_cancel"),
    path("projects/<slug:slug>/runs/<int:number>/resume/", runs.run_resume, name="run_resume"),
    path("projects/<slug:slug>/versions/", versions.versions, name="versions"),
    path("projects/<slug:slug>/versions/<int:number>/", versions.version, name="version"),
    path("projects/<slug:slug>/versions/<int:number>/describe/", upkeep.version_describe, name="version_describe"),
    path("projects/<slug:slug>/versions/<int:number>/alias/", upkeep.version_alias, name="version_alias"),
    path("projects/<slug:slug>/versions/<int:number>/archive/", upkeep.version_archive, name="version_archive"),
    path("projects/<slug:slug>/versions/<int:number>/remove/", upkeep.version_remove, name="version_remove"),
    path("projects/<slug:slug>/versions/<int:number>/download/", upkeep.version_download, name="version_download"),
    path("projects/<slug:slug>/versions/<int:number>/judgements/", upkeep.version_judgements, name="version_judgements"),
    path("projects/<slug:slug>/judged/<int:comparison>/", upkeep.judged, name="judged"),
    path("projects/<slug:slug>/versions/<int:number>/promote/", versions.version_promote, name="version_promote"),
    path("projects/<slug:slug>/ai/", ai_annotators.ai_annotators, name="ai_annotators"),
    path("projects/<slug:slug>/ai/purpose/", ai_annotators.ai_purpose, name="ai_purpose"),
    path("projects/<slug:slug>/ai/<int:annotator_id>/", ai_annotators.ai_annotator, name="ai_annotator"),
    path("projects/<slug:slug>/endpoints/", endpoints.endpoints, name="endpoints"),
    path("projects/<slug:slug>/endpoints/<int:endpoint_id>/", endpoints.endpoint, name="endpoint"),
    path("projects/<slug:slug>/endpoints/<int:endpoint_id>/test/", endpoints.endpoint_test, name="endpoint_test"),
    path("projects/<slug:slug>/endpoints/<int:endpoint_id>/serve/", endpoints.endpoint_serve, name="endpoint_serve"),
    path("projects/<slug:slug>/endpoints/<int:endpoint_id>/remove/", endpoints.endpoint_remove, name="endpoint_remove"),
    path("projects/<slug:slug>/versions/<int:number>/evaluate/", versions.version_evaluate, name="version_evaluate"),
    path("projects/<slug:slug>/versions/<int:number>/score/", versions.version_score, name="version_score"),
    path("projects/<slug:slug>/evaluations/", evaluations.evaluations, name="evaluations"),
    path("projects/<slug:slug>/evaluations/<int:number>/", evaluations.evaluation, name="evaluation"),
    path("projects/<slug:slug>/evaluations/<int:number>/prompts.csv", evaluations.evaluation_table, name="evaluation_table"),
    path("projects/<slug:slug>/evaluations/<int:number>/stop/", evaluations.evaluation_stop, name="evaluation_stop"),
    path("projects/<slug:slug>/leaderboard/", leaderboard.leaderboard, name="leaderboard"),
    path("projects/<slug:slug>/leaderboard.csv", leaderboard.leaderboard_table, name="leaderboard_table"),
    *api,
]
