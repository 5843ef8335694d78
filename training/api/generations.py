"""Generations by program: fill the queue with pairs of the serving version."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of
from annotate.api.schema import paged
from training.api.serializers import GenerationOut
from training.clock.automation import start_generation
from training.models import Generation
from training.worker.jobs import request_cancel


class GenerationsView(ApiView):
    may = "may_see_versions"
    starts_work = True

    @extend_schema(parameters=[PageIn], responses={200: paged(GenerationOut)}, summary="Generations, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(generations_of(request), request, GenerationOut)

    @extend_schema(request=None, responses={201: GenerationOut}, summary="Fill the queue")
    def post(self, request: Request, slug: str) -> Response:
        """The serving version writes pairs until the queue is at its high mark. It does so by itself when it is low."""
        generation = start_generation(request.project)
        if generation is None:
            serves = request.project.promotions.exists()
            raise Conflict("A generation is at work already." if serves else "No model serves yet. Add one first.")
        return Response(GenerationOut(generation).data, status=status.HTTP_201_CREATED)


class GenerationView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: GenerationOut}, summary="A generation")
    def get(self, request: Request, slug: str, id: int) -> Response:
        return Response(GenerationOut(find_generation(request, id)).data)


class CancelGenerationView(ApiView):
    @extend_schema(request=None, responses={200: GenerationOut}, summary="Stop a generation")
    def post(self, request: Request, slug: str, id: int) -> Response:
        """What it has written stays in the queue."""
        generation = find_generation(request, id)
        request_cancel(job=generation)
        return Response(GenerationOut(generation).data)


def generations_of(request: Request):
    return request.project.generations.select_related("version")


def find_generation(request: Request, id: int) -> Generation:
    return get_object_or_404(generations_of(request), pk=id)
