"""Judging by program: the same two functions as the page, the same blindness."""

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ..judging import JudgementRefused, record_judgement
from ..models import Assignment
from ..queue import claim_comparison, explain_no_work
from .access import ProjectPermission
from .serializers import AssignmentOut, JudgementIn, JudgementOut, NextIn


class NextView(APIView):
    """POST: leases the next comparison. `assignment` is null, with a reason in `message`, when there is none."""

    permission_classes = [ProjectPermission]
    may = "may_judge"

    def post(self, request: Request, slug: str) -> Response:
        asked = NextIn(data=request.data)
        asked.is_valid(raise_exception=True)
        own = Assignment.objects.filter(annotator=request.user, comparison__project=request.project)
        beside = own.filter(pk=asked.validated_data.get("beside")).first()
        assignment = claim_comparison(project=request.project, annotator=request.user, beside=beside)
        if assignment is None:
            return Response({"assignment": None, "message": explain_no_work(project=request.project, annotator=request.user)})
        return Response(AssignmentOut(shown(assignment)).data)


class JudgementView(APIView):
    """POST: records a judgement. 201 with the judgement that stands, also when it is sent again; 409 when it is refused."""

    permission_classes = [ProjectPermission]
    may = "may_judge"

    def post(self, request: Request, slug: str) -> Response:
        asked = JudgementIn(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        try:
            judgement = record_judgement(annotator=request.user, assignment_id=given.pop("assignment"), **given)
        except JudgementRefused as refusal:
            code = status.HTTP_400_BAD_REQUEST if refusal.fields else status.HTTP_409_CONFLICT
            return Response({"code": refusal.code, "message": refusal.message, "fields": refusal.fields}, status=code)
        return Response(JudgementOut(judgement).data, status=status.HTTP_201_CREATED)


def shown(assignment: Assignment) -> dict:
    """The words of a pair as its annotator sees them."""
    comparison = assignment.comparison
    texts = [comparison.first.text, comparison.second.text]
    a, b = reversed(texts) if assignment.swapped else texts
    return {
        "assignment": assignment.pk,
        "messages": comparison.prompt.messages,
        "a": a,
        "b": b,
        "grades": assignment.grades,
        "flags": comparison.project.flags,
    }
