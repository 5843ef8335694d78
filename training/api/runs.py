"""Runs by program: the same functions as the pages call."""

from django.http import Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from training.api.serializers import AfterIn, EventsOut, PlanOut, RunOut, StartRunIn
from training.datasets.kept_previews import LONGER_SECONDS
from training.datasets.snapshots import NothingToTrainOn
from training.models import Run, Version
from training.runs.curve_files import CURVE_FILES, curve_file
from training.runs.ordering import ConfigError, Order, RunRefused, cancel_run, plan_run, resume_run, start_run

EVENTS_AT_ONCE = 2000


class RunView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: RunOut}, summary="A run")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(RunOut(find_run(request, number)).data)


class RunsView(ApiView):
    may = "may_see_versions"
    starts_work = True

    @extend_schema(parameters=[PageIn], responses={200: paged(RunOut)}, summary="Runs, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(runs_of(request), request, RunOut, by="number")

    @extend_schema(
        request=StartRunIn,
        responses={200: PlanOut, 201: RunOut},
        summary="Train",
        examples=[OpenApiExample("small", value={"preset": "small", "overrides": {"beta": 0.1, "epochs": 1}}, request_only=True)],
    )
    def post(self, request: Request, slug: str) -> Response:
        """Starts a run on what has been judged so far and the filters let through. 409: there is nothing to train on, a run is
        unfinished, or it cannot fit into memory. With `dry_run` nothing is started: the answer (200) tells what would happen."""
        asked = valid(StartRunIn(data=request.data, context={"project": request.project}))
        order = Order(
            preset=asked.get("preset", ""), overrides=asked["overrides"], parent=_version_at(request, asked, "parent"),
            reference=_version_at(request, asked, "reference"), filters=asked["filters"], processes=asked["processes"],
        )  # fmt: skip
        try:
            if asked["dry_run"]:
                return Response(PlanOut(plan_run(project=request.project, order=order, seconds=LONGER_SECONDS)).data)
            run = start_run(project=request.project, by=request.user, order=order)
        except ConfigError as error:
            raise ValidationError({"overrides": [str(error)]}) from None
        except NothingToTrainOn as error:
            raise Conflict(str(error)) from None
        return Response(RunOut(run).data, status=status.HTTP_201_CREATED)


def _version_at(request: Request, asked: dict, field: str) -> Version | None:
    """The version whose number stands in that field."""
    number = asked[field]
    found = Version.objects.of(request.project).filter(number=number).first() if number is not None else None
    if number is not None and found is None:
        raise ValidationError({field: [f"There is no version {number} in this project."]})
    return found


class RunEventsView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(parameters=[AfterIn], responses={200: EventsOut}, summary="Follow a run")
    def get(self, request: Request, slug: str, number: int) -> Response:
        """The trainer's events after the line you have, 2,000 at most. Ask again every few seconds, with the `ETag`, while
        `over` is false."""
        after = valid(AfterIn(data=request.query_params))["after"]
        run = find_run(request, number)
        events = list(run.events.filter(line__gt=after)[:EVENTS_AT_ONCE])
        last = events[-1].line if events else after
        over = run.is_over and len(events) < EVENTS_AT_ONCE
        return Response(EventsOut({"events": events, "last": last, "over": over}).data)


class RunCurvesView(ApiView):
    may = "may_see_versions"

    @extend_schema(
        parameters=[OpenApiParameter("suffix", str, "path", enum=list(CURVE_FILES))],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/json"): {"type": "array", "items": {"type": "object"}},
        },
        summary="A run's curves, as a file",
    )
    def get(self, request: Request, slug: str, number: int, suffix: str) -> StreamingHttpResponse:
        """Every point as it was written, nothing thinned: `curves.csv`, or `curves.json`, one list."""
        if suffix not in CURVE_FILES:
            raise Http404("Curves come as csv or json.")
        return StreamingHttpResponse(curve_file(find_run(request, number), suffix), content_type=CURVE_FILES[suffix])


class CancelRunView(ApiView):
    @extend_schema(request=None, responses={200: RunOut}, summary="Stop a run")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """It writes a checkpoint, from which it can be resumed. A run that is over stays as it is."""
        run = find_run(request, number)
        cancel_run(run=run)
        return Response(RunOut(find_run(request, number)).data)


class ResumeRunView(ApiView):
    starts_work = True

    @extend_schema(request=None, responses={200: RunOut}, summary="Go on with a run")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """A cancelled or failed run goes on from its checkpoint."""
        run = find_run(request, number)
        try:
            resumed = resume_run(run=run)
        except RunRefused as refusal:
            raise Conflict(str(refusal)) from None
        if not resumed:
            raise Conflict(f"Run {number} is neither cancelled nor failed: there is nothing to resume.")
        return Response(RunOut(find_run(request, number)).data)


def runs_of(request: Request):
    return request.project.runs.select_related("project", "dataset__project", "parent", "reference", "version")


def find_run(request: Request, number: int) -> Run:
    return get_object_or_404(runs_of(request), number=number)
