"""One answer at a time, thumbs up or down. As blind as the compare page: the words, and the rating's own name."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotate.judging.ratings import explain_no_rating, next_rating, rate, skip_rating, take_back_rating
from annotate.judging.refusals import JudgementRefused
from annotate.text.markdown import render as render_markdown

from ..access import ProjectRequest, project_view
from ..forms import DAY


class RatingForm(forms.Form):
    rating = forms.UUIDField(required=False)
    say = forms.ChoiceField(choices=[(word, word) for word in ("good", "bad", "skip", "undo")])
    seconds = forms.FloatField(required=False, min_value=0, max_value=DAY)

    def clean(self) -> dict:
        cleaned = super().clean()
        if cleaned.get("say") != "undo" and not cleaned.get("rating"):
            raise forms.ValidationError("Which answer? Reload the page.")
        return cleaned


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@project_view(may="may_judge")
def rate_answers(request: ProjectRequest) -> HttpResponse:
    if request.method != "POST":
        return render_next(request)
    form = RatingForm(request.POST)
    if request.POST.get("person", "") not in ("", str(request.user.pk)):  # the page was made for whoever was signed in before
        return render_next(request, status=403, error="Somebody else has signed in in this browser since. Nothing was stored.")
    if not form.is_valid():
        return render_next(request, status=422, error="Nothing was stored: choose one of the answers below.")
    said = form.cleaned_data
    try:
        if said["say"] == "undo":
            if take_back_rating(project=request.project, annotator=request.user) is None:
                raise JudgementRefused("nothing_to_undo", "There is no rating of yours to take back.")
        elif said["say"] == "skip":
            skip_rating(annotator=request.user, rating_id=said["rating"])
        else:
            good = said["say"] == "good"
            rating = rate(annotator=request.user, rating_id=said["rating"], good=good, seconds=said["seconds"])
            if rating.good != good:
                messages.info(request, "You had rated this answer already. That rating stands; Undo takes it back.")
    except JudgementRefused as refusal:
        return render_next(request, status=409, error=refusal.message)
    return redirect("rate", request.project.slug)


def render_next(request: ProjectRequest, status: int = 200, error: str = "") -> HttpResponse:
    rating = next_rating(project=request.project, annotator=request.user)
    context = {"rating": rating, "error": error}
    if rating is None:
        context["reason"] = explain_no_rating(project=request.project, annotator=request.user)
    else:
        turns = rating.completion.prompt.messages
        context["turns"] = [{"role": turn["role"], "html": render_markdown(turn["content"])} for turn in turns]
        context["answer"] = render_markdown(rating.completion.text)
    return render(request, "annotate/rate.html", context, status=status)
