"""Addresses of the collecting half."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from .api.urls import urlpatterns as api
from .views import compare, data, guidelines, invitations, members, own_work, pause, people, projects, quality, review, tokens

urlpatterns = [
    path("", projects.projects, name="projects"),
    path("sign-in/", people.SignIn.as_view(), name="sign_in"),
    path("sign-in/<str:token>/", people.sign_in_link, name="sign_in_link"),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("account/", people.account, name="account"),
    path("projects/new/", projects.project_new, name="project_new"),
    path("projects/<slug:slug>/archive/", projects.project_archive, name="project_archive"),
    path("projects/<slug:slug>/guidelines/", guidelines.guidelines, name="guidelines"),
    path("projects/<slug:slug>/guidelines/edit/", guidelines.guidelines_edit, name="guidelines_edit"),
    path("projects/<slug:slug>/guidelines/history/", guidelines.guidelines_history, name="guidelines_history"),
    path("projects/<slug:slug>/guidelines/read/", guidelines.guidelines_read, name="guidelines_read"),
    path("account/tokens/", tokens.tokens, name="tokens"),
    path("account/tokens/<int:token_id>/revoke/", tokens.token_revoke, name="token_revoke"),
    path("projects/<slug:slug>/compare/", compare.compare, name="compare"),
    path("projects/<slug:slug>/compare/next/", compare.compare_next, name="compare_next"),
    path("projects/<slug:slug>/compare/judge/", compare.compare_judge, name="compare_judge"),
    path("projects/<slug:slug>/compare/skip/", compare.compare_skip, name="compare_skip"),
    path("projects/<slug:slug>/compare/undo/", compare.compare_undo, name="compare_undo"),
    path("projects/<slug:slug>/compare/renew/", compare.compare_renew, name="compare_renew"),
    path("projects/<slug:slug>/pause/", pause.project_pause, name="project_pause"),
    path("projects/<slug:slug>/resume/", pause.project_resume, name="project_resume"),
    path("projects/<slug:slug>/mine/", own_work.own_work, name="own_work"),
    path("projects/<slug:slug>/mine/<uuid:assignment>/", own_work.own_judgement, name="own_judgement"),
    path("projects/<slug:slug>/mine/<uuid:assignment>/take-up/", own_work.own_take_up, name="own_take_up"),
    path("projects/<slug:slug>/quality/", quality.quality, name="quality"),
    path("projects/<slug:slug>/quality/<slug:table>.csv", quality.quality_table, name="quality_table"),
    path("projects/<slug:slug>/review/", review.review, name="review"),
    path("projects/<slug:slug>/review/<int:comparison>/", review.review_case, name="review_case"),
    path(
        "projects/<slug:slug>/review/<int:comparison>/judgements/<int:judgement>/withdraw/",
        review.review_withdraw,
        name="review_withdraw",
    ),
    path(
        "projects/<slug:slug>/review/<int:comparison>/decisions/<int:decision>/take-back/",
        review.review_take_back,
        name="review_take_back",
    ),
    path("projects/<slug:slug>/data/", data.data, name="data"),
    path("projects/<slug:slug>/data/prompts/", data.data_prompts, name="data_prompts"),
    path("projects/<slug:slug>/data/upload/", data.data_upload, name="data_upload"),
    path("projects/<slug:slug>/data/import/", data.data_import, name="data_import"),
    path("projects/<slug:slug>/data/export/", data.data_export, name="data_export"),
    path("projects/<slug:slug>/data/imports/<int:number>/refused/", data.data_refused, name="data_refused"),
    path("projects/<slug:slug>/data/imports/<int:number>/undo/", data.data_undo, name="data_undo"),
    path("projects/<slug:slug>/members/", members.members, name="members"),
    path("projects/<slug:slug>/members/<int:user_id>/link/", members.member_link, name="member_link"),
    path("projects/<slug:slug>/members/<int:user_id>/role/", members.member_role, name="member_role"),
    path("projects/<slug:slug>/members/<int:user_id>/remove/", members.member_remove, name="member_remove"),
    *api,
    path("projects/<slug:slug>/invitations/", invitations.invitations, name="invitations"),
    path("projects/<slug:slug>/invitations/<int:number>/revoke/", invitations.invitation_revoke, name="invitation_revoke"),
    path("join/<str:token>/", invitations.join, name="join"),
]
