"""Projects by program: a new one, and the settings of the settings page, checked by the same form."""

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.api.access import SignedIn
from annotate.api.base import ApiView, PageIn, page_of, valid
from annotate.api.schema import paged
from annotate.judging.flags import LONGEST, MOST
from annotate.models import Membership, Project
from annotate.models.project import Role
from annotate.models.scale import Grades
from annotate.projects.changes import create_project, may_create_projects, set_archived
from annotate.projects.guidelines import LONGEST as LONGEST_GUIDELINES
from annotate.projects.guidelines import save_guidelines
from training.forms import ProjectForm


class NewProjectIn(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    guidelines = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=LONGEST_GUIDELINES, help_text="Markdown."
    )
    grades = serializers.ChoiceField(choices=Grades.choices, default=Grades.TWO, help_text="How finely A and B are compared.")


@extend_schema_field({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$", "example": "03:00:00"})
class ClockField(serializers.TimeField):
    """A time of day in the site's zone. OpenAPI's own format of a time wants a zone in it."""


class SettingsField(serializers.ModelSerializer):
    """What the settings page has."""

    trains_at = ClockField(required=False)
    flags = serializers.ListField(child=serializers.CharField(max_length=LONGEST), max_length=MOST)

    class Meta:
        model = Project
        fields = tuple(name for name in ProjectForm.Meta.fields if name != "name")


class ProjectOut(serializers.Serializer):
    slug = serializers.CharField(source="project.slug")
    name = serializers.CharField(source="project.name")
    role = serializers.CharField(help_text="Yours.")
    guidelines = serializers.CharField(source="project.guidelines")
    archived = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(source="project.created_at")
    settings = serializers.SerializerMethodField(help_text="For those who manage it; null for others.")

    def get_archived(self, membership: Membership) -> bool:
        return membership.project.archived_at is not None

    @extend_schema_field(SettingsField(allow_null=True))
    def get_settings(self, membership: Membership) -> dict | None:
        return SettingsField(membership.project).data if Role(membership.role).may_manage else None


class ChangeProjectIn(SettingsField):
    """Any of them; the rest stays."""

    guidelines = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_GUIDELINES, help_text="Makes a new edition."
    )

    class Meta(SettingsField.Meta):
        fields = ("name", "guidelines", *SettingsField.Meta.fields)


class ArchiveIn(serializers.Serializer):
    archived = serializers.BooleanField(default=True)


class ProjectsView(ApiView):
    permission_classes = [SignedIn]

    @extend_schema(parameters=[PageIn], responses={200: paged(ProjectOut)}, summary="Your projects")
    def get(self, request: Request) -> Response:
        """Those you are a member of, the newest membership first."""
        return page_of(Membership.objects.filter(user=request.user).select_related("project"), request, ProjectOut)

    @extend_schema(
        request=NewProjectIn,
        responses={201: ProjectOut},
        summary="Create a project",
        examples=[
            OpenApiExample("one", value={"name": "Short answers", "guidelines": "Prefer the shorter one."}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        """You become its owner. Its address (`slug`) follows from the name."""
        if not may_create_projects(request.user):
            raise PermissionDenied("Projects are made by people who own or manage one already. Ask one of them.")
        given = valid(NewProjectIn(data=request.data))
        project = create_project(by=request.user, **given)
        membership = project.memberships.select_related("project").get(user=request.user)
        return Response(ProjectOut(membership).data, status=status.HTTP_201_CREATED)


class ProjectView(ApiView):
    has_etag = True

    @extend_schema(responses={200: ProjectOut}, summary="A project")
    def get(self, request: Request, slug: str) -> Response:
        return Response(_out(request))

    @extend_schema(request=ChangeProjectIn, responses={200: ProjectOut}, summary="Change settings or guidelines")
    def patch(self, request: Request, slug: str) -> Response:
        """What is left out stays as it is."""
        given = valid(ChangeProjectIn(request.project, data=request.data, partial=True))
        guidelines = given.pop("guidelines", None)
        if given:
            _change(request.project, given)
        if guidelines is not None:
            save_guidelines(project=request.project, text=guidelines, by=request.user)
        return Response(_out(request))


class ArchiveProjectView(ApiView):
    @extend_schema(request=ArchiveIn, responses={200: ProjectOut}, summary="Archive a project, or take it up again")
    def post(self, request: Request, slug: str) -> Response:
        """For its owners. An archived project hands out no work and starts nothing by itself; what it holds stays."""
        archived = valid(ArchiveIn(data=request.data))["archived"]
        if request.role != Role.OWNER:
            raise PermissionDenied("Only an owner of the project can archive it, or take it up again.")
        set_archived(project=request.project, archived=archived)
        return Response(_out(request))


def _out(request: Request) -> dict:
    return ProjectOut(request.project.memberships.select_related("project").get(user=request.user)).data


def _change(project: Project, given: dict) -> None:
    """Through the form of the page: the same rules, the same words."""
    stored = {name: getattr(project, name) for name in ProjectForm.Meta.fields}
    data = {name: _as_in_a_form(value) for name, value in (stored | given).items()}
    form = ProjectForm(data, instance=project)
    if not form.is_valid():
        raise ValidationError({name if name != "__all__" else "non_field_errors": errors for name, errors in form.errors.items()})
    form.save_settings()


def _as_in_a_form(value: object) -> object:
    return "\n".join(value) if isinstance(value, list) else value
