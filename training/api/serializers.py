"""What the training half's API takes and gives. None of them writes."""

from typing import Any

from rest_framework import serializers

from training.datasets.filters import FilterError, Filters
from training.dpo.config import PRESETS, hyperparameters
from training.evaluations.ordering import MOST_BEST_OF
from training.models import Evaluation, Generation, Run, RunEvent, Version
from training.runs.ordering import MOST_PROCESSES
from training.versions.upkeep import LONGEST_NOTES, LONGEST_TAG, MOST_TAGS


class TakeDatasetIn(serializers.Serializer):
    """`filters`: see training/datasets/filters.py."""

    filters = serializers.DictField(required=False, default=dict, help_text="What leaves judged pairs out; none if empty.")

    def validate_filters(self, filters: dict[str, Any]) -> Filters:
        try:
            return Filters.read(filters, project=self.context["project"])
        except FilterError as error:
            raise serializers.ValidationError(error.fields) from None


class StartRunIn(TakeDatasetIn):
    """`overrides` may hold any setting of the trainer; its own rules check it. `filters`: see training/datasets/filters.py."""

    preset = serializers.ChoiceField(choices=list(PRESETS), required=False)
    overrides = serializers.DictField(required=False, default=dict)
    parent = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1, help_text="A version's number."
    )
    reference = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        max_value=2**31 - 1,
        help_text="A version's number; the parent if null.",
    )
    processes = serializers.IntegerField(
        required=False, default=1, min_value=1, max_value=MOST_PROCESSES, help_text="That train together on one host."
    )
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only tell what would happen.")

    def validate_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """Only what may be tuned: paths and provenance are the server's own."""
        tunable = [setting.name for setting in hyperparameters()]
        if unknown := sorted(set(overrides) - set(tunable)):
            raise serializers.ValidationError(f"{', '.join(unknown)}: no such setting. There are: {', '.join(tunable)}.")
        return overrides


class PlanOut(serializers.Serializer):
    """What a run would train on and take. Null is what cannot be told."""

    train_count = serializers.IntegerField(source="preview.train")
    heldout_count = serializers.IntegerField(source="preview.heldout")
    without = serializers.DictField(source="preview.without", help_text="Judged pairs that give no triple, by reason.")
    left_out = serializers.IntegerField(source="preview.left_out", help_text="Judged pairs that the filters leave out.")
    counted_at = serializers.DateTimeField(
        source="preview.at", help_text="When the counts were true, of very many pairs; null: at this moment."
    )
    share = serializers.FloatField(
        source="preview.share", help_text="Of all judged pairs, those the counts are told from; below 1 they are about right."
    )
    parent = serializers.IntegerField(source="parent.number")
    reference = serializers.IntegerField(source="reference.number")
    tokens = serializers.IntegerField(source="estimate.tokens")
    steps = serializers.IntegerField(source="estimate.steps")
    seconds = serializers.FloatField(source="estimate.seconds")
    memory_bytes = serializers.IntegerField(source="estimate.memory_bytes")
    refusal = serializers.CharField(source="estimate.refusal", help_text="Why it cannot fit; empty if it can.")


class PromoteIn(serializers.Serializer):
    why = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class KeepVersionIn(serializers.Serializer):
    notes = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_NOTES, trim_whitespace=False)
    tags = serializers.ListField(
        required=False, max_length=MOST_TAGS, child=serializers.CharField(max_length=LONGEST_TAG), help_text="In place of all."
    )
    archived = serializers.BooleanField(required=False, help_text="Out of the way; nothing is lost.")


class DatasetOut(serializers.Serializer):
    number = serializers.IntegerField()
    train_count = serializers.IntegerField()
    heldout_count = serializers.IntegerField()
    train_sha256 = serializers.CharField()
    heldout_sha256 = serializers.CharField()
    counts = serializers.DictField(help_text="Comparisons that gave no triple, by reason.")
    filters = serializers.DictField(help_text="The consensus rule, and what else chose the triples.")
    created_at = serializers.DateTimeField()


class RunOut(serializers.ModelSerializer):
    dataset = DatasetOut(allow_null=True, help_text="Null until a worker takes it, where very much has been judged.")
    parent = serializers.IntegerField(source="parent.number")
    reference = serializers.IntegerField(source="reference.number")
    version = serializers.SerializerMethodField()
    url = serializers.CharField(source="get_absolute_url")

    class Meta:
        model = Run
        fields = (
            "number", "state", "progress", "total", "eta_seconds", "error", "settings", "processes", "dataset", "parent",
            "reference", "version", "created_at", "started_at", "finished_at", "url",
        )  # fmt: skip

    def get_version(self, run: Run) -> int | None:
        version = getattr(run, "version", None)
        return version.number if version else None


class AfterIn(serializers.Serializer):
    after = serializers.IntegerField(
        required=False, default=0, min_value=0, max_value=999_999_999, help_text="The last line you have; 0 for all."
    )


class EventOut(serializers.ModelSerializer):
    class Meta:
        model = RunEvent
        fields = ("line", "kind", "step", "data")


class EventsOut(serializers.Serializer):
    events = EventOut(many=True)
    last = serializers.IntegerField(help_text="The line to ask `after` next.")
    over = serializers.BooleanField(help_text="The run has ended and this is the last of it.")


class VersionOut(serializers.ModelSerializer):
    parent = serializers.SerializerMethodField()
    run = serializers.SerializerMethodField()
    serving = serializers.SerializerMethodField()
    aliases = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)
    tags = serializers.ListField(child=serializers.CharField())
    archived = serializers.SerializerMethodField()
    files_deleted = serializers.BooleanField(source="is_removed", help_text="Its files are gone, or about to be.")
    url = serializers.CharField(source="get_absolute_url")

    class Meta:
        model = Version
        fields = (
            "number", "name", "parent", "run", "serving", "aliases", "notes", "tags", "archived", "files_deleted", "serve_dtype",
            "metrics", "parameters", "size_bytes", "created_at", "url",
        )  # fmt: skip

    def get_parent(self, version: Version) -> int | None:
        return version.parent.number if version.parent else None

    def get_run(self, version: Version) -> int | None:
        return version.run.number if version.run else None

    def get_archived(self, version: Version) -> bool:
        return version.archived_at is not None

    def get_serving(self, version: Version) -> bool:
        serving: Any = self.context["serving"]
        return bool(serving and serving.pk == version.pk)


class FileOut(serializers.Serializer):
    name = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")


class VersionFilesOut(serializers.Serializer):
    files = FileOut(many=True)


class GenerationOut(serializers.ModelSerializer):
    version = serializers.IntegerField(source="version.number")

    class Meta:
        model = Generation
        fields = (
            "id", "state", "version", "progress", "total", "eta_seconds", "dropped_identical", "dropped_empty", "dropped_named",
            "dropped_refused", "resampled", "error", "created_at", "started_at", "finished_at",
        )  # fmt: skip


class StartEvaluationIn(serializers.Serializer):
    candidate = serializers.IntegerField(min_value=0, help_text="A version's number.")
    opponent = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0,
        help_text="Another one's; if it is left out, the serving version or the candidate's parent.",
    )  # fmt: skip
    prompts = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=10_000, help_text="How many; the project's number."
    )
    best_of = serializers.IntegerField(default=1, min_value=1, max_value=MOST_BEST_OF)
    promotes = serializers.BooleanField(default=False, help_text="The candidate starts to serve when it passes.")


class EvaluationOut(serializers.ModelSerializer):
    candidate = serializers.IntegerField(source="candidate.number")
    opponent = serializers.IntegerField(source="opponent.number")
    figures = serializers.DictField(help_text="Wins, ties, losses, the win rate and its intervals: what the verdict rests on.")

    class Meta:
        model = Evaluation
        fields = (
            "number", "state", "candidate", "opponent", "best_of", "prompts_wanted", "bar", "promotes", "verdict", "figures",
            "left_out", "progress", "total", "error", "created_at", "decided_at",
        )  # fmt: skip
