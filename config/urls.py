"""Every address of the site. The halves bring their own."""

from django.urls import include, path

handler500 = "annotate.views.errors.server_error"

urlpatterns = [
    path("", include("annotate.urls")),
    path("", include("training.urls")),
]
