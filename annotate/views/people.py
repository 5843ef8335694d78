"""Signing in and out, and one's own account."""

from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotate.people.sign_in import redeem

from ..forms import AccountForm, BreakForm, PasswordForm

BACKEND = "django.contrib.auth.backends.ModelBackend"


class SignInForm(AuthenticationForm):
    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": "User name and password do not belong together. Mind capital and small letters in both."
    }


class SignIn(LoginView):
    """By password. django-axes counts the failures and answers 429 after too many."""

    form_class = SignInForm
    template_name = "annotate/sign_in.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_invalid(form)
        response.status_code = 422
        return response


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Looking at the link does not use it up (programs that preview links look too): the button on the page does."""
    if request.method != "POST":
        return render(request, "annotate/sign_in_link.html")
    user = redeem(token=token)
    if user is None:
        return render(request, "annotate/sign_in_link_spent.html", status=410)
    login(request, user, backend=BACKEND)
    if not user.has_usable_password():
        said = 'The link is used up now. <a href="{}#id_new_password">Set a password</a> to come back without one.'
        messages.info(request, format_html(said, reverse("account")))
    return redirect("projects")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    asked = request.POST.get("form", "")
    name_form = AccountForm(request.POST if asked == "name" else None, instance=request.user)
    break_form = BreakForm(request.POST if asked == "break" else None, instance=request.user)
    password_form = PasswordForm(request.POST if asked == "password" else None, user=request.user)
    if asked == "name" and name_form.is_valid():
        name_form.save()
        messages.success(request, "Your name is saved.")
        return redirect("account")
    if asked == "break" and break_form.is_valid():
        break_form.save()
        minutes = request.user.break_minutes
        told = f"You are reminded after {minutes} minutes of work." if minutes else "You are not reminded of breaks."
        messages.success(request, told)
        return redirect("account")
    if asked == "password" and password_form.is_valid():
        request.user.set_password(password_form.cleaned_data["new_password"])
        request.user.save(update_fields=["password"])
        update_session_auth_hash(request, request.user)
        messages.success(request, "Your password is set. Other browsers you were signed in with are signed out.")
        return redirect("account")
    if name_form.errors or break_form.errors:
        request.user.refresh_from_db()  # the form has written on it
    context = {"name_form": name_form, "break_form": break_form, "password_form": password_form}
    return render(request, "annotate/account.html", context, status=422 if request.method == "POST" else 200)
