"""Every address of the site. The halves bring their own."""

from django.urls import include, path

handler400 = "annotate.views.errors.bad_request"
handler403 = "annotate.views.errors.refused"
handler404 = "annotate.views.errors.not_found"
handler500 = "annotate.views.errors.server_error"

urlpatterns = [
    path("", include("annotate.urls")),
    path("", include("training.urls")),
]
