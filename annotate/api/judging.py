"""Judging by program, so that another front end can annotate: the same functions as the page, the same blindness."""

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.judging.judgements import JudgementRefused, record_judgement, take_back_last
from annotate.projects.progress import progress_of
from annotate.queue.claims import claim_comparison, renew_lease, skip_comparison
from annotate.queue.no_work import explain_no_work

from ..models import Assignment, Judgement
from .base import ApiView, PageIn, page_of, valid
from .schema import paged
from .serializers import (
    AssignmentOut,
    HeldOut,
    JudgementIn,
    JudgementOut,
    NextIn,
    NoWorkOut,
    OwnJudgementOut,
    ProgressOut,
    RenewIn,
    SkipIn,
    SkippedOut,
)

PAIR = OpenApiExample(
    "a pair",
    value={
        "assignment": "0b9f9a52-2f0e-4c53-9c0c-1f6f2f5f7d11",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "a": "Air scatters blue light more than red.",
        "b": "It reflects the sea.",
        "grades": 2,
        "allows_tie": True,
        "allows_both_bad": True,
        "rationale": "optional",
        "flags": ["unsafe"],
    },
    response_only=True,
)
NOTHING = OpenApiExample(
    "nothing to do", value={"assignment": None, "message": "Every open comparison has been judged."}, response_only=True
)
PAIR_OR_NOTHING = OpenApiResponse(
    PolymorphicProxySerializer("NextOut", [AssignmentOut, NoWorkOut], resource_type_field_name=None), examples=[PAIR, NOTHING]
)


class JudgingView(ApiView):
    may = may_write = "may_judge"
    scope = "judge"
    about = "judging"


class NextView(JudgingView):
    """Leases the next comparison. `assignment` is null, with a reason in `message`, when there is none.

    Asked again, it gives the same pair until that is judged, skipped, or its lease has run out. To fetch the next one while
    a pair is on the screen, name that one as `beside`.
    """

    @extend_schema(request=NextIn, responses={200: PAIR_OR_NOTHING}, summary="The next comparison")
    def post(self, request: Request, slug: str) -> Response:
        beside = own(request).filter(pk=valid(NextIn(data=request.data)).get("beside")).first()
        assignment = claim_comparison(project=request.project, annotator=request.user, beside=beside)
        return Response(pair_or_nothing(request, assignment))


class JudgementsView(JudgingView):
    @extend_schema(parameters=[PageIn], responses={200: paged(OwnJudgementOut)}, summary="Your own judgements")
    def get(self, request: Request, slug: str) -> Response:
        """Those that stand, the newest first, as you saw the pairs. Everybody's, for those who manage: `export`."""
        own = Judgement.objects.standing().filter(comparison__project=request.project, annotator=request.user)
        return page_of(own.select_related("assignment"), request, OwnJudgementOut)

    @extend_schema(request=JudgementIn, responses={201: JudgementOut}, summary="Judge")
    def post(self, request: Request, slug: str) -> Response:
        """Records a judgement. The answer is the judgement that stands, also when it is sent again; 409 when it is refused."""
        given = valid(JudgementIn(data=request.data))
        try:
            judgement = record_judgement(annotator=request.user, assignment_id=given.pop("assignment"), **given)
        except JudgementRefused as refusal:
            return refused(refusal)
        return Response(JudgementOut(judgement).data, status=status.HTTP_201_CREATED)


class SkipView(JudgingView):
    @extend_schema(request=SkipIn, responses={200: SkippedOut}, summary="Skip a comparison")
    def post(self, request: Request, slug: str) -> Response:
        """Gives the place back; this comparison does not come to you again."""
        given = valid(SkipIn(data=request.data))
        try:
            skip_comparison(annotator=request.user, assignment_id=given["assignment"], reason=given["reason"])
        except JudgementRefused as refusal:
            return refused(refusal)
        return Response({"assignment": str(given["assignment"]), "skipped": True})


class UndoView(JudgingView):
    @extend_schema(request=None, responses={200: PAIR_OR_NOTHING}, summary="Take back the last answer")
    def post(self, request: Request, slug: str) -> Response:
        """Takes back your latest judgement or skip and leases its pair to you again. 409 when there is nothing to take back."""
        try:
            assignment = take_back_last(project=request.project, annotator=request.user)
        except JudgementRefused as refusal:
            return refused(refusal)
        if assignment is None:
            return refused(JudgementRefused("nothing_to_undo", "There is no answer of yours to take back."))
        return Response(pair_or_nothing(request, assignment))


class RenewView(JudgingView):
    @extend_schema(request=RenewIn, responses={200: HeldOut}, summary="Keep a lease")
    def post(self, request: Request, slug: str) -> Response:
        """Starts the lease's time again, while its pair is on the screen. `held` is false when it went back to the queue; an
        answer is taken all the same."""
        assignment = own(request).filter(pk=valid(RenewIn(data=request.data))["assignment"]).first()
        return Response({"held": bool(assignment and renew_lease(assignment=assignment))})


class ProgressView(ApiView):
    about = "judging"

    @extend_schema(responses={200: ProgressOut}, summary="How far the work is")
    def get(self, request: Request, slug: str) -> Response:
        return Response(progress_of(project=request.project, annotator=request.user))


def own(request: Request):
    """The person's own assignments in this project. Another's is as good as none."""
    own = Assignment.objects.select_related(
        "comparison__project", "comparison__prompt", "comparison__first", "comparison__second"
    )
    return own.filter(annotator=request.user, comparison__project=request.project)


def refused(refusal: JudgementRefused) -> Response:
    code = status.HTTP_400_BAD_REQUEST if refusal.fields else status.HTTP_409_CONFLICT
    return Response({"code": refusal.code, "message": refusal.message, "fields": refusal.fields}, status=code)


def pair_or_nothing(request: Request, assignment: Assignment | None) -> dict:
    if assignment is None:
        return {"assignment": None, "message": explain_no_work(project=request.project, annotator=request.user)}
    return AssignmentOut(shown(assignment)).data


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
        "rationale": comparison.project.rationale,
        "allows_tie": comparison.project.allows_tie,
        "allows_both_bad": comparison.project.allows_both_bad,
        "flags": comparison.project.flags,
        "allows_edit": comparison.project.allows_edit,
    }
