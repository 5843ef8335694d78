"""What the training half's API takes and gives. None of them writes."""

from typing import Any

from rest_framework import serializers

from training.dpo.config import PRESETS, hyperparameters
from training.models import Run, RunEvent, Version


class StartRunIn(serializers.Serializer):
    """`overrides` may hold any setting of the trainer; the trainer's own rules check it."""

    preset = serializers.ChoiceField(choices=list(PRESETS), required=False)
    overrides = serializers.DictField(required=False, default=dict)
    parent = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="A version's number.")

    def validate_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """Only what may be tuned: paths and provenance are the server's own."""
        tunable = [setting.name for setting in hyperparameters()]
        if unknown := sorted(set(overrides) - set(tunable)):
            raise serializers.ValidationError(f"{', '.join(unknown)}: no such setting. There are: {', '.join(tunable)}.")
        return overrides


class PromoteIn(serializers.Serializer):
    why = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class DatasetOut(serializers.Serializer):
    number = serializers.IntegerField()
    train_count = serializers.IntegerField()
    heldout_count = serializers.IntegerField()
    train_sha256 = serializers.CharField()
    heldout_sha256 = serializers.CharField()
    counts = serializers.JSONField()


class RunOut(serializers.ModelSerializer):
    dataset = DatasetOut()
    parent = serializers.IntegerField(source="parent.number")
    reference = serializers.IntegerField(source="reference.number")
    version = serializers.SerializerMethodField()
    url = serializers.CharField(source="get_absolute_url")

    class Meta:
        model = Run
        fields = (
            "number", "state", "progress", "total", "eta_seconds", "error", "settings", "dataset", "parent", "reference",
            "version", "created_at", "started_at", "finished_at", "url",
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
    url = serializers.CharField(source="get_absolute_url")

    class Meta:
        model = Version
        fields = (
            "number", "name", "parent", "run", "serving", "serve_dtype", "metrics", "parameters", "size_bytes",
            "created_at", "url",
        )  # fmt: skip

    def get_parent(self, version: Version) -> int | None:
        return version.parent.number if version.parent else None

    def get_run(self, version: Version) -> int | None:
        return version.run.number if version.run else None

    def get_serving(self, version: Version) -> bool:
        serving: Any = self.context["serving"]
        return bool(serving and serving.pk == version.pk)


class FileOut(serializers.Serializer):
    name = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")


class VersionFilesOut(serializers.Serializer):
    files = FileOut(many=True)
