"""The training half's API: the same functions as the pages call."""

from django.shortcuts import get_object_or_404
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.api.access import ProjectPermission
from training.api.serializers import EventOut, PromoteIn, RunOut, StartRunIn, VersionOut
from training.datasets import NothingToTrainOn
from training.models import Run, Version
from training.registry import promote, serving_version
from training.runs import ConfigError, cancel_run, start_run

EVENTS_AT_ONCE = 2000


class Conflict(APIException):
    """What was asked for is right, but not now."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class ReadView(APIView):
    permission_classes = [ProjectPermission]
    may = "may_see_versions"


class WriteView(APIView):
    permission_classes = [ProjectPermission]
    may = "may_manage"


def _runs(request: Request):
    return request.project.runs.select_related("project", "dataset", "parent", "reference", "version").order_by("-number")


def _versions(request: Request):
    return Version.objects.of(request.project).select_related("project", "parent", "run")


def _valid(serializer) -> dict:
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


class RunsView(APIView):
    permission_classes = [ProjectPermission]

    @property
    def may(self) -> str:
        return "may_manage" if self.request.method == "POST" else "may_see_versions"

    def get(self, request: Request, slug: str) -> Response:
        return Response(RunOut(_runs(request), many=True).data)

    def post(self, request: Request, slug: str) -> Response:
        asked = _valid(StartRunIn(data=request.data))
        number = asked["parent"]
        parent = None if number is None else _versions(request).filter(number=number).first()
        if number is not None and parent is None:
            raise ValidationError({"parent": [f"There is no version {number} in this project."]})
        try:
            run = start_run(
                project=request.project, by=request.user, preset=asked.get("preset"), overrides=asked["overrides"], parent=parent
            )
        except ConfigError as error:
            raise ValidationError({"overrides": [str(error)]}) from None
        except NothingToTrainOn as error:
            raise Conflict(str(error)) from None
        return Response(RunOut(run).data, status=status.HTTP_201_CREATED)


class RunView(ReadView):
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(RunOut(get_object_or_404(_runs(request), number=number)).data)


class RunEventsView(ReadView):
    """`?after=LINE`: the events after that line, at most EVENTS_AT_ONCE."""

    def get(self, request: Request, slug: str, number: int) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 9:
            raise ValidationError({"after": ["A whole number: the last line you have, 0 for all."]})
        run: Run = get_object_or_404(_runs(request), number=number)
        return Response(EventOut(run.events.filter(line__gt=int(after))[:EVENTS_AT_ONCE], many=True).data)


class CancelRunView(WriteView):
    def post(self, request: Request, slug: str, number: int) -> Response:
        run = get_object_or_404(_runs(request), number=number)
        cancel_run(run=run)
        return Response(RunOut(_runs(request).get(pk=run.pk)).data)


class VersionsView(ReadView):
    def get(self, request: Request, slug: str) -> Response:
        context = {"serving": serving_version(request.project)}
        return Response(VersionOut(_versions(request), many=True, context=context).data)


class PromoteView(WriteView):
    def post(self, request: Request, slug: str, number: int) -> Response:
        version = get_object_or_404(_versions(request), number=number)
        promote(version=version, by=request.user, why=_valid(PromoteIn(data=request.data))["why"])
        return Response(VersionOut(version, context={"serving": version}).data)
