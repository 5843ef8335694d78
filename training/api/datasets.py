"""Datasets by program: take one, read what is in it, download its files."""

from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from annotate.models.prompt import Split
from training.api.serializers import DatasetOut, TakeDatasetIn
from training.datasets.snapshots import FILES, NothingToTrainOn, create_dataset
from training.models import Dataset
from training.versions.registry import serving_version


class DatasetView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(responses={200: DatasetOut}, summary="A dataset")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(DatasetOut(find_dataset(request, number)).data)


class DatasetsView(ApiView):
    may = "may_see_versions"
    has_etag = True

    @extend_schema(parameters=[PageIn], responses={200: paged(DatasetOut)}, summary="Datasets, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(request.project.datasets.all(), request, DatasetOut, by="number")

    @extend_schema(request=TakeDatasetIn, responses={201: DatasetOut}, summary="Take a dataset")
    def post(self, request: Request, slug: str) -> Response:
        """A snapshot of the triples that the judgements give now; the newest one if nothing has changed since. A run takes one
        by itself."""
        filters = valid(TakeDatasetIn(data=request.data, context={"project": request.project}))["filters"]
        try:
            dataset = create_dataset(
                project=request.project, by=request.user, filters=filters, start=serving_version(request.project)
            )
        except NothingToTrainOn as error:
            raise Conflict(str(error)) from None
        return Response(DatasetOut(dataset).data, status=status.HTTP_201_CREATED)


class DatasetFileView(ApiView):
    may = "may_manage"

    @extend_schema(responses={(200, "application/jsonl"): OpenApiTypes.BINARY}, summary="Download a split of a dataset")
    def get(self, request: Request, slug: str, number: int, split: str) -> HttpResponse:
        """`train` or `heldout`: its triples in TRL's form, one a line. The ETag is the file's SHA-256."""
        dataset = find_dataset(request, number)
        if split not in FILES:
            raise Http404("A dataset has the splits train and heldout.")
        tag = f'"{dataset.train_sha256 if split == Split.TRAIN else dataset.heldout_sha256}"'
        if (unchanged := get_conditional_response(request._request, etag=tag)) is not None:
            return unchanged
        try:
            file = (dataset.path / FILES[Split(split)]).open("rb")
        except FileNotFoundError:
            raise Http404(f"The file of {dataset} is not on this server any more.") from None
        name = f"{request.project.slug}-{dataset}-{split}.jsonl"
        response = FileResponse(file, as_attachment=True, filename=name, content_type="application/jsonl")
        response["ETag"] = tag
        return response


def find_dataset(request: Request, number: int) -> Dataset:
    return get_object_or_404(request.project.datasets, number=number)
