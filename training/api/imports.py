"""Files of judged comparisons by program: looked at, brought in, followed, undone. The page's functions."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.base import ApiView, Conflict, PageIn, page_of, valid
from annotate.api.schema import paged
from annotate.data.import_previews import preview_import
from annotate.data.undoing import undo_import
from annotate.data.uploads import keep_upload, refusals_of
from annotate.formats.registry import READERS
from annotate.models import PreferenceImport
from annotate.models.prompt import Split
from training.imports.forms import MEGABYTE
from training.imports.ordering import cancel_import, go_on_with_import, order_import, wanted_uploads
from training.models import FileImport
from training.models.job import JobState

MOST_NAMES, LONGEST_NAME = 50, 200
LOOKED_AT = 100  # rows of a preview


class FileIn(serializers.Serializer):
    file = serializers.FileField(
        max_length=None, help_text="JSON Lines, a JSON array or Parquet; plain, .gz or .zst.", allow_empty_file=True
    )
    format = serializers.ChoiceField(
        choices=sorted(READERS), required=False, allow_blank=True, default="", help_text="As the content says, if left out."
    )
    names = serializers.JSONField(
        required=False, default=dict, help_text='What the file calls our fields, as JSON: {"chosen": "better"}.'
    )

    def validate_file(self, file: UploadedFile) -> UploadedFile:
        if file.size > settings.LARGEST_UPLOAD_MB * MEGABYTE:
            raise serializers.ValidationError(
                f"The file is larger than {settings.LARGEST_UPLOAD_MB:,} MB. Import it with manage.py import_preferences."
            )
        return file

    def validate_names(self, names: Any) -> Mapping[str, str]:
        told = isinstance(names, dict) and len(names) <= MOST_NAMES
        if not told or not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in names.values()):
            raise serializers.ValidationError('Send an object of our names to the file\'s: {"chosen": "better"}.')
        return names


class ImportIn(FileIn):
    split = serializers.ChoiceField(
        choices=Split.choices, required=False, allow_blank=True, default="",
        help_text="Where new prompts belong; decided by their content if left out.",
    )  # fmt: skip
    single = serializers.BooleanField(default=False, help_text="Keep each answer of a KTO file by itself, as a rating.")
    judge_again = serializers.BooleanField(default=False, help_text="Our annotators judge these comparisons, too.")


class RefusedRowOut(serializers.Serializer):
    line = serializers.IntegerField()
    unit = serializers.CharField(help_text="What `line` counts: line, element or row.")
    reason = serializers.CharField()
    next_step = serializers.CharField()


class PreviewOut(serializers.Serializer):
    format = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField(), source="fields", help_text="What the first row has.")
    readable = serializers.SerializerMethodField(help_text=f"Of the first {LOOKED_AT} rows.")
    refused = RefusedRowOut(many=True, help_text=f"Of the first {LOOKED_AT} rows.")

    def get_readable(self, preview: Any) -> int:
        return len(preview.rows)


class BatchOut(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", allow_null=True, default=None)

    class Meta:
        model = PreferenceImport
        fields = ("number", "file_name", "format", "prompts", "comparisons", "judgements", "known", "refused", "by", "created_at",
                  "undone_at")  # fmt: skip


class ComingOut(serializers.ModelSerializer):
    """An upload on its way in: `progress` and `total` are kilobytes of the file."""

    batch = BatchOut(allow_null=True, help_text="What has come in of it.")

    class Meta:
        model = FileImport
        fields = ("upload", "file_name", "state", "progress", "total", "eta_seconds", "error", "batch", "created_at",
                  "finished_at")  # fmt: skip


class UndoneOut(serializers.Serializer):
    judgements = serializers.IntegerField(help_text="Deleted.")
    withdrawn = serializers.IntegerField(help_text="Kept, since a dataset names them, but they count no more.")
    comparisons = serializers.IntegerField(help_text="Deleted.")
    kept = serializers.IntegerField(help_text="Comparisons that people were given or a dataset names.")
    prompts = serializers.IntegerField(help_text="Deleted.")


class ImportsView(ApiView):
    may = "may_manage"
    parser_classes = [MultiPartParser]
    starts_work = True
    keeps_answers = False  # a file twice adds nothing, whoever sends it

    @extend_schema(parameters=[PageIn], responses={200: paged(BatchOut)}, summary="Imports, the newest first")
    def get(self, request: Request, slug: str) -> Response:
        return page_of(request.project.imports.select_related("by"), request, BatchOut, by="number")

    @extend_schema(request={"multipart/form-data": ImportIn}, responses={201: ComingOut, 202: ComingOut}, summary="Import a file")
    def post(self, request: Request, slug: str) -> Response:
        """Judged comparisons in any of the formats. A small file is in with the answer (201); a worker brings in a larger one
        (202): ask for it at `uploads/` until its `state` is over. The same file again adds nothing: rows are known by their
        content."""
        asked = dict(valid(ImportIn(data=request.data)))
        upload = keep_upload(project=request.project, file=asked.pop("file"), still_wanted=wanted_uploads(request.project))
        job = order_import(project=request.project, upload=upload, by=request.user, **asked)
        if job.state == JobState.FAILED and job.batch is None:
            job.delete()
            upload.drop()
            raise ValidationError({"file": [job.error]})
        answer = status.HTTP_201_CREATED if job.is_over else status.HTTP_202_ACCEPTED
        return Response(ComingOut(job).data, status=answer)


class PreviewImportView(ApiView):
    about = "imports"
    parser_classes = [MultiPartParser]
    keeps_answers = False

    @extend_schema(
        request={"multipart/form-data": FileIn}, responses={200: PreviewOut}, summary="Look at a file before its import"
    )
    def post(self, request: Request, slug: str) -> Response:
        """What an import would make of its first rows. Nothing is stored."""
        asked = valid(FileIn(data=request.data))
        preview = preview_import(stream=asked["file"].file, format=asked["format"], names=asked["names"], number=LOOKED_AT)
        if preview.error:
            raise ValidationError({"file": [preview.error]})
        return Response(PreviewOut(preview).data)


class ImportView(ApiView):
    may = "may_manage"

    @extend_schema(responses={200: BatchOut}, summary="An import")
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(BatchOut(_batch(request, number)).data)


class UndoImportView(ApiView):
    about = "imports"

    @extend_schema(
        request=None, responses={200: UndoneOut}, summary="Undo an import",
        examples=[
            OpenApiExample(
                "all of it", value={"judgements": 20, "withdrawn": 0, "comparisons": 20, "kept": 0, "prompts": 18},
                response_only=True,
            )
        ],
    )  # fmt: skip
    def post(self, request: Request, slug: str, number: int) -> Response:
        """Takes out what came with it and nobody has used since. 409: it is still coming in; cancel its upload."""
        batch = _batch(request, number)
        if coming := FileImport.objects.unfinished().filter(batch=batch).first():
            raise Conflict(f"It is still coming in. POST uploads/{coming.upload}/cancel/: what is in of it is then taken out.")
        return Response(UndoneOut(undo_import(batch=batch)).data)


class RefusedRowsView(ApiView):
    may = "may_manage"
    about = "imports"

    @extend_schema(responses={(200, "application/jsonl"): OpenApiTypes.BINARY}, summary="The rows that an import refused")
    def get(self, request: Request, slug: str, number: int) -> FileResponse:
        """One a line: where it stands in the file, what is wrong with it, what to do. 404: it refused none, or it was made on
        the command line."""
        batch = _batch(request, number)
        try:
            report = refusals_of(batch).open("rb")
        except FileNotFoundError:
            raise Http404(f"There is no report of {batch}: it refused nothing, or was made on the command line.") from None
        name = f"{batch.file_name}.refused.jsonl"
        return FileResponse(report, as_attachment=True, filename=name, content_type="application/jsonl")


class UploadView(ApiView):
    may = "may_manage"
    has_etag = True

    @extend_schema(responses={200: ComingOut}, summary="An upload on its way in")
    def get(self, request: Request, slug: str, upload: UUID) -> Response:
        return Response(ComingOut(_coming(request, upload)).data)


class CancelUploadView(ApiView):
    about = "uploads"

    @extend_schema(request=None, responses={200: ComingOut}, summary="Cancel an import")
    def post(self, request: Request, slug: str, upload: UUID) -> Response:
        """What has come in of it is taken out again, by a worker. One that is over stays as it is."""
        cancel_import(job=_coming(request, upload))
        return Response(ComingOut(_coming(request, upload)).data)


class GoOnWithUploadView(ApiView):
    about = "uploads"
    starts_work = True

    @extend_schema(request=None, responses={200: ComingOut}, summary="Go on with an import that has failed")
    def post(self, request: Request, slug: str, upload: UUID) -> Response:
        """After the last row that is in. 409: it has not failed."""
        if not go_on_with_import(job=_coming(request, upload)):
            raise Conflict("There is nothing to go on with: it has not failed.")
        return Response(ComingOut(_coming(request, upload)).data)


def _batch(request: Request, number: int) -> PreferenceImport:
    return get_object_or_404(request.project.imports.select_related("by"), number=number)


def _coming(request: Request, upload: UUID) -> FileImport:
    return get_object_or_404(request.project.file_imports.select_related("batch__by"), upload=upload)
