"""Blind evaluations by program."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from training.api.serializers import EvaluationOut, StartEvaluationIn
from training.evaluations.ordering import EvaluationRefused, opponent_of, start_evaluation, stop_evaluation
from training.models import Evaluation, Version


class EvaluationsView(ApiView):
    may = "may_see_versions"
    starts_work = True

    @extend_schema(parameters=[PageIn], responses={200: paged(EvaluationOut)}, summary="Evaluations, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(evaluations_of(request), request, EvaluationOut, by="number")

    @extend_schema(request=StartEvaluationIn, responses={201: EvaluationOut}, summary="Compare two versions blindly")
    def post(self, request: Request, slug: str) -> Response:
        """Both answer held-out prompts; the annotators judge the pairs among all others, without knowing."""
        given = valid(StartEvaluationIn(data=request.data))
        candidate = find_named(request, given, "candidate")
        opponent = opponent_of(candidate) if given["opponent"] is None else find_named(request, given, "opponent")
        if opponent is None:
            raise Conflict("There is no other version to compare it with. Name one as `opponent`.")
        rest = {name: given[name] for name in ("prompts", "best_of", "promotes")}
        try:
            evaluation = start_evaluation(candidate=candidate, opponent=opponent, by=request.user, **rest)
        except EvaluationRefused as refusal:
            raise Conflict(str(refusal)) from None
        return Response(EvaluationOut(evaluation).data, status=status.HTTP_201_CREATED)


class EvaluationView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: EvaluationOut}, summary="An evaluation")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(EvaluationOut(find_evaluation(request, number)).data)


class StopEvaluationView(ApiView):
    @extend_schema(request=None, responses={200: EvaluationOut}, summary="End an evaluation")
    def post(self, request: Request, slug: str, number: int) -> Response:
        """What has been judged stays, nothing more is asked. One that is over stays as it is."""
        stop_evaluation(evaluation=find_evaluation(request, number))
        return Response(EvaluationOut(find_evaluation(request, number)).data)


def evaluations_of(request: Request):
    return request.project.evaluations.select_related("candidate", "opponent", "project")


def find_evaluation(request: Request, number: int) -> Evaluation:
    return get_object_or_404(evaluations_of(request), number=number)


def find_named(request: Request, given: dict, name: str) -> Version:
    version = Version.objects.of(request.project).select_related("project", "parent").filter(number=given[name]).first()
    if version is None:
        raise ValidationError({name: [f"There is no version {given[name]} in this project."]})
    return version
