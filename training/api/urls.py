"""Addresses of the training half's API. All of it is in the OpenAPI document at /api/v1/schema/."""

from django.urls import path

from annotate.api.urls import PROJECT
from training.api import (
    ai_annotators,
    datasets,
    endpoints,
    evaluations,
    exports,
    generations,
    imports,
    inquiries,
    leaderboard,
    playground,
    projects,
    runs,
    upkeep,
    versions,
)

RUN, VERSION = PROJECT + "runs/<int:number>/", PROJECT + "versions/<int:number>/"
DATASET, EVALUATION = PROJECT + "datasets/<int:number>/", PROJECT + "evaluations/<int:number>/"
TRYOUT = PROJECT + "playground/<int:id>/"
GENERATION, INQUIRY = PROJECT + "generations/<int:id>/", PROJECT + "inquiries/<int:id>/"
IMPORT, UPLOAD = PROJECT + "imports/<int:number>/", PROJECT + "uploads/<uuid:upload>/"
ENDPOINT, AI = PROJECT + "endpoints/<int:endpoint_id>/", PROJECT + "ai/<int:annotator_id>/"

urlpatterns = [
    path("api/v1/projects/", projects.ProjectsView.as_view(), name="api_projects"),
    path(PROJECT, projects.ProjectView.as_view(), name="api_project"),
    path(PROJECT + "archive/", projects.ArchiveProjectView.as_view(), name="api_project_archive"),
    path(PROJECT + "datasets/", datasets.DatasetsView.as_view(), name="api_datasets"),
    path(DATASET, datasets.DatasetView.as_view(), name="api_dataset"),
    path(DATASET + "<slug:split>.jsonl", datasets.DatasetFileView.as_view(), name="api_dataset_file"),
    path(PROJECT + "export/", exports.ExportView.as_view(), name="api_export"),
    path(PROJECT + "export/card/", exports.ExportCardView.as_view(), name="api_export_card"),
    path(PROJECT + "imports/", imports.ImportsView.as_view(), name="api_imports"),
    path(PROJECT + "imports/preview/", imports.PreviewImportView.as_view(), name="api_import_preview"),
    path(IMPORT, imports.ImportView.as_view(), name="api_import"),
    path(IMPORT + "undo/", imports.UndoImportView.as_view(), name="api_import_undo"),
    path(IMPORT + "refused/", imports.RefusedRowsView.as_view(), name="api_import_refused"),
    path(UPLOAD, imports.UploadView.as_view(), name="api_upload"),
    path(UPLOAD + "cancel/", imports.CancelUploadView.as_view(), name="api_upload_cancel"),
    path(UPLOAD + "go-on/", imports.GoOnWithUploadView.as_view(), name="api_upload_go_on"),
    path(PROJECT + "leaderboard/", leaderboard.LeaderboardView.as_view(), name="api_leaderboard"),
    path(PROJECT + "generations/", generations.GenerationsView.as_view(), name="api_generations"),
    path(GENERATION, generations.GenerationView.as_view(), name="api_generation"),
    path(GENERATION + "cancel/", generations.CancelGenerationView.as_view(), name="api_generation_cancel"),
    path(PROJECT + "evaluations/", evaluations.EvaluationsView.as_view(), name="api_evaluations"),
    path(EVALUATION, evaluations.EvaluationView.as_view(), name="api_evaluation"),
    path(EVALUATION + "stop/", evaluations.StopEvaluationView.as_view(), name="api_evaluation_stop"),
    path(PROJECT + "generate/", inquiries.GenerateView.as_view(), name="api_generate"),
    path(PROJECT + "score/", inquiries.ScoreView.as_view(), name="api_score"),
    path(INQUIRY, inquiries.InquiryView.as_view(), name="api_inquiry"),
    path(INQUIRY + "cancel/", inquiries.CancelInquiryView.as_view(), name="api_inquiry_cancel"),
    path(PROJECT + "playground/", playground.PlaygroundView.as_view(), name="api_playground"),
    path(TRYOUT, playground.TryoutView.as_view(), name="api_tryout"),
    path(TRYOUT + "compare/", playground.CompareTryoutView.as_view(), name="api_tryout_compare"),
    path(PROJECT + "runs/", runs.RunsView.as_view(), name="api_runs"),
    path(RUN, runs.RunView.as_view(), name="api_run"),
    path(RUN + "events/", runs.RunEventsView.as_view(), name="api_run_events"),
    path(RUN + "curves.<slug:suffix>", runs.RunCurvesView.as_view(), name="api_run_curves"),
    path(RUN + "cancel/", runs.CancelRunView.as_view(), name="api_run_cancel"),
    path(RUN + "resume/", runs.ResumeRunView.as_view(), name="api_run_resume"),
    path(PROJECT + "versions/", versions.VersionsView.as_view(), name="api_versions"),
    path(VERSION, versions.VersionView.as_view(), name="api_version"),
    path(VERSION + "promote/", versions.PromoteVersionView.as_view(), name="api_version_promote"),
    path(VERSION + "aliases/<str:alias>/", upkeep.VersionAliasView.as_view(), name="api_version_alias"),
    path(VERSION + "remove/", upkeep.RemoveVersionView.as_view(), name="api_version_remove"),
    path(VERSION + "files/", versions.VersionFilesView.as_view(), name="api_version_files"),
    path(VERSION + "files/<str:name>", versions.VersionFileView.as_view(), name="api_version_file"),
    path(PROJECT + "endpoints/", endpoints.EndpointsView.as_view(), name="api_endpoints"),
    path(ENDPOINT, endpoints.EndpointView.as_view(), name="api_endpoint"),
    path(ENDPOINT + "test/", endpoints.TestEndpointView.as_view(), name="api_endpoint_test"),
    path(ENDPOINT + "serve/", endpoints.ServeEndpointView.as_view(), name="api_endpoint_serve"),
    path(PROJECT + "ai/", ai_annotators.AiAnnotatorsView.as_view(), name="api_ai_annotators"),
    path(PROJECT + "ai/purpose/", ai_annotators.AiPurposeView.as_view(), name="api_ai_purpose"),
    path(AI, ai_annotators.AiAnnotatorView.as_view(), name="api_ai_annotator"),
    path(AI + "rubrics/", ai_annotators.RubricsView.as_view(), name="api_ai_rubrics"),
    path(AI + "sittings/", ai_annotators.SittingsView.as_view(), name="api_ai_sittings"),
]
