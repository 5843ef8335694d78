"""The page that starts a run: what will happen, before it happens."""

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods
from django.views.decorators.vary import vary_on_headers

from annotate.access import ProjectRequest, project_view
from annotate.quality.noise import measure_noise
from training.datasets.kept_previews import LONGER_SECONDS, SAMPLE_SECONDS
from training.datasets.snapshots import NothingToTrainOn
from training.runs.form import TrainForm, initial_of, is_asked
from training.runs.ordering import ConfigError, Plan, plan_run, start_run
from training.wording import reasons_in_words


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
@project_view(may="may_manage")
def train(request: ProjectRequest) -> HttpResponse:
    """GET: the form, empty, as the address fills it, or `?like=3` as run 3 was asked for. POST: start the run."""
    if request.method == "POST":
        return _start(request, TrainForm(request.POST, project=request.project))
    like = request.GET.get("like", "")
    if is_asked(request.GET):
        form = TrainForm(request.GET, project=request.project)
    elif like:
        runs = request.project.runs.select_related("dataset", "project")
        run = get_object_or_404(runs, number=int(like) if like.isdecimal() and len(like) < 10 else 0)
        form = TrainForm(initial_of(run), project=request.project)
    else:
        form = TrainForm({"preset": request.project.preset}, project=request.project)
    if request.htmx:
        return render(request, "training/_train_preview.html", _preview(request, form))
    return render(request, "training/train.html", _preview(request, form) | {"form": form, "like": like} | _noise(request))


def _start(request: ProjectRequest, form: TrainForm) -> HttpResponse:
    if form.is_valid():
        try:
            return redirect(start_run(project=request.project, by=request.user, order=form.order))
        except (NothingToTrainOn, ConfigError) as error:
            form.add_error(None, str(error))
    wrong = [name for name in form.fields if name in form.errors and name != "preset"]
    if wrong:  # the browser goes to the first control with an error, else to what is said of the form as a whole
        form.fields[wrong[0]].widget.attrs["autofocus"] = True
    context = _preview(request, form) | {"form": form, "refused": True, "focus_on_summary": not wrong} | _noise(request)
    return render(request, "training/train.html", context, status=422)


def _noise(request: ProjectRequest) -> dict:
    return {"noise": measure_noise(request.project)}


def _preview(request: ProjectRequest, form: TrainForm) -> dict:
    """What starting it now would do, or why that cannot be told. With more time where the page is there already."""
    if not form.is_valid():
        return {"faults": [(form[name].label if name in form.fields else "", told) for name, told in form.errors.items()]}
    seconds = LONGER_SECONDS if request.htmx else SAMPLE_SECONDS
    try:
        plan: Plan = plan_run(project=request.project, order=form.order, seconds=seconds)
    except (NothingToTrainOn, ConfigError) as error:
        return {"faults": [("", [str(error)])]}
    return {"plan": plan, "without": reasons_in_words(plan.preview.without)}
