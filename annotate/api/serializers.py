"""What the API takes in and gives out. Serializers never write: `annotate.queue.claims` and `annotate.judging.judgements` do."""

from rest_framework import serializers

from annotate.judging.edits import MAX_EDIT
from annotate.judging.flags import LONGEST, MOST
from annotate.judging.judgements import CHOICES, MAX_RATIONALE

from ..forms import DAY
from ..models import Judgement
from ..models.judgement import Outcome
from ..models.project import Rationale


class NextIn(serializers.Serializer):
    beside = serializers.UUIDField(required=False, allow_null=True, help_text="The assignment at work on now.")


class MessageOut(serializers.Serializer):
    role = serializers.CharField()
    content = serializers.CharField()


class AssignmentOut(serializers.Serializer):
    """As blind as the page: the words, in the order of the screen, and the name of the assignment."""

    assignment = serializers.UUIDField()
    messages = MessageOut(many=True)
    a = serializers.CharField()
    b = serializers.CharField()
    flags = serializers.ListField(child=serializers.CharField(), help_text="What the pair can be marked with.")
    rationale = serializers.ChoiceField(
        choices=Rationale.choices, help_text="Whether a reason is asked for; “strong”: needed with the strongest grade."
    )
    grades = serializers.IntegerField(help_text="How finely A and B are compared: half of them for each side.")
    allows_tie = serializers.BooleanField()
    allows_both_bad = serializers.BooleanField()
    allows_edit = serializers.BooleanField(help_text="The better answer may be sent improved, as `edited_text`.")


class NoWorkOut(serializers.Serializer):
    assignment = serializers.UUIDField(allow_null=True, help_text="null")
    message = serializers.CharField(help_text="Why there is nothing, and what will change that.")


class JudgementIn(serializers.Serializer):
    assignment = serializers.UUIDField()
    key = serializers.UUIDField(help_text="Made by the client; sent again with every retry.")
    choice = serializers.ChoiceField(choices=list(CHOICES))
    strength = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="1 to half the assignment's grades; needed from 4 grades on."
    )
    seconds = serializers.FloatField(required=False, allow_null=True, default=None, min_value=0, max_value=DAY)
    rationale = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_RATIONALE)
    flags = serializers.ListField(
        child=serializers.CharField(max_length=LONGEST),
        required=False,
        default=list,
        max_length=MOST,
        help_text="Of the project's.",
    )
    edited_text = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        trim_whitespace=False,
        max_length=MAX_EDIT,
        help_text="The chosen answer, improved; where `allows_edit`.",
    )


class JudgementOut(serializers.Serializer):
    key = serializers.UUIDField()
    assignment = serializers.UUIDField(source="assignment_id")
    late = serializers.BooleanField()


class OwnJudgementOut(serializers.Serializer):
    """As the annotator saw the pair: `choice` is a, b, tie or both_bad."""

    key = serializers.UUIDField()
    assignment = serializers.UUIDField(source="assignment_id")
    choice = serializers.SerializerMethodField()
    strength = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)
    rationale = serializers.CharField(allow_blank=True)
    flags = serializers.ListField(child=serializers.CharField())
    late = serializers.BooleanField()
    created_at = serializers.DateTimeField()

    def get_choice(self, judgement: Judgement) -> str:
        outcome = Outcome(judgement.outcome)
        outcome = outcome.swapped if judgement.assignment.swapped else outcome
        return next(choice for choice, meant in CHOICES.items() if meant == outcome)


class RenewIn(serializers.Serializer):
    assignment = serializers.UUIDField()


class HeldOut(serializers.Serializer):
    held = serializers.BooleanField()


class SkipIn(RenewIn):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)


class SkippedOut(serializers.Serializer):
    assignment = serializers.UUIDField()
    skipped = serializers.BooleanField()


class ProgressOut(serializers.Serializer):
    mine_today = serializers.IntegerField(help_text="Your judgements since midnight.")
    mine = serializers.IntegerField()
    judgements = serializers.IntegerField(help_text="Everybody's that stand.")
    done = serializers.IntegerField(help_text="Pairs that are judged.")
    open = serializers.IntegerField(help_text="Pairs that wait.")
    leased = serializers.IntegerField(help_text="Pairs that are on somebody's screen.")
    prompts_train = serializers.IntegerField()
    prompts_heldout = serializers.IntegerField()
