"""One's own tokens: make one (shown this once), see when each was last used, revoke."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.people.tokens import TokenRefused, create_token, revoke_token

from ..models.token import Scope

LASTS = [("30", "30 days"), ("90", "90 days"), ("365", "A year"), ("none", "Until it is revoked")]


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What it is for: “nightly import”, “my annotation tool”.")
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        label="It may",
        help_text="And never more than your role in a project.",
        error_messages={"required": "Tick at least one."},
    )
    days = forms.ChoiceField(choices=LASTS, label="It lasts", initial="90")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The list. POST makes a token and shows it, this once."""
    form = TokenForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return render_tokens(request, form, status=422 if form.errors else 200)
    asked = form.cleaned_data
    days = None if asked["days"] == "none" else int(asked["days"])
    try:
        token, text = create_token(user=request.user, name=asked["name"], scopes=asked["scopes"], days=days)
    except TokenRefused as refusal:
        form.add_error(None, str(refusal))
        return render_tokens(request, form, status=422)
    return render_tokens(request, TokenForm(), made=token, text=text)


@require_POST
def token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(request.user.tokens, pk=token_id)
    revoke_token(token=token)
    messages.success(request, f"“{token.name}” is revoked: nobody comes in with it any more.")
    return redirect("tokens")


def render_tokens(request: HttpRequest, form: TokenForm, status: int = 200, **context: object) -> HttpResponse:
    context |= {"form": form, "tokens": request.user.tokens.order_by("revoked_at", "-created_at")[:100]}
    return render(request, "annotate/tokens.html", context, status=status)
