"""The forms of the training half that are small: making a version serve, a project's settings. Starting a run: runs/form.py."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.db import transaction

from annotate.judging.flags import MOST, check_flags, read_flags
from annotate.models import Project
from annotate.projects.changes import change_judgements_required
from training.form_errors import WithErrorsAtTheFields
from training.generation.named_makers import check_names, read_names
from training.models import Version
from training.runs.form import preset_choices

BEST_OF = (1, 2, 4, 8, 16)
LEAST_TEMPERATURE = 0.05  # far below it, logits divided by it are no numbers any more


class PromoteForm(forms.Form):
    why = forms.CharField(max_length=300, required=False, label="Why (optional)")


class EvaluationForm(WithErrorsAtTheFields, forms.Form):
    """A version against another. Of a version that was trained here also the best of several answers, against one."""

    opponent = forms.ModelChoiceField(Version.objects.none(), label="Against", empty_label=None)
    prompts = forms.IntegerField(min_value=1, max_value=10_000, label="Held-out prompts")
    best_of = forms.TypedChoiceField(coerce=int, choices=[(n, "one answer" if n == 1 else f"the best of {n}") for n in BEST_OF],
                                     label="It gives", required=False, empty_value=1)  # fmt: skip
    promotes = forms.BooleanField(required=False, label="Make it serve when it passes")

    def __init__(self, *args: Any, candidate: Version, opponent: Version | None, serves: bool, **kwargs: Any) -> None:
        heldout = candidate.project.prompts.heldout().count()
        prompts = min(candidate.project.evaluation_prompts, heldout) or candidate.project.evaluation_prompts
        initial = {"opponent": opponent, "prompts": prompts, "best_of": 1}
        super().__init__(*args, **{"initial": initial, "auto_id": "id_evaluation_%s"} | kwargs)
        others = Version.objects.of(candidate.project)
        if serves:
            del self.fields["promotes"]
        if not candidate.run_id:
            del self.fields["best_of"]
            others = others.exclude(pk=candidate.pk)
        self.fields["opponent"].queryset = others


class LinesField(forms.CharField):
    """A list of texts as the lines of a text area. `read` makes the list of them, `check` raises ValidationError."""

    widget = forms.Textarea(attrs={"rows": 5})

    def __init__(self, *, read: Callable[[str], list[str]], check: Callable[[list[str]], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.read, self.check = read, check

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        lines = self.read(super().to_python(value))
        self.check(lines)
        return lines


class PercentField(forms.FloatField):
    """A share, written in percent: 0.05 is shown as 5."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": 100} | kwargs)
        self.widget.attrs["step"] = "any"

    def prepare_value(self, value: Any) -> Any:
        return f"{round(100 * value, 6):g}" if isinstance(value, float) else value

    def clean(self, value: Any) -> float:
        return round(super().clean(value) / 100, 8)


class ProjectForm(WithErrorsAtTheFields, forms.ModelForm):
    flags = LinesField(
        read=read_flags, check=check_flags, required=False,
        help_text=f"One on each line, {MOST} at most: “unsafe”, “wrong language”. Annotators tick them.",
    )  # fmt: skip
    maker_names = LinesField(
        read=read_names, check=check_names, required=False, label="Names of models and makers",
        help_text="One on each line. Whole words, in whatever case. A name that the prompt gives counts for nothing.",
    )  # fmt: skip
    gold_share = PercentField(
        label="Known answers, in %", help_text="Of what is handed out, where there are gold pairs the person has not had."
    )
    evaluation_share = PercentField(
        label="Blind evaluation, in %", help_text="Of what is handed out, while a version is being evaluated."
    )
    random_share = PercentField(
        label="Chosen at random, in %", help_text="Of the rest, whatever its priority: so that figures stay honest."
    )
    calibration_bar = PercentField(label="… of which must be right, in %", help_text="Else they are shown as not calibrated.")
    preset = forms.ChoiceField(choices=preset_choices, help_text="What the Train button uses unless somebody chooses another.")

    class Meta:
        model = Project
        fields = (
            "name",
            "grades", "allows_tie", "allows_both_bad", "rationale", "allows_edit", "flags", "asks_for_ratings",
            "changeable_minutes", "shows_agreement", "judgements_required", "lease_minutes",
            "consensus", "confidence_bar", "least_grade",
            "gold_share", "evaluation_share", "random_share", "judgements_at_most",
            "gold_feedback", "calibration_size", "calibration_bar", "calibration_stops",
            "temperature", "top_p", "max_new_tokens", "answers_per_pair", "queue_low", "queue_high",
            "leaves_out_makers", "maker_names",
            "preset", "promoting", "trains_after", "trains_on", "trains_at",
            "evaluates_finished_runs", "evaluation_prompts", "promotion_bar",
        )  # fmt: skip
        labels = {
            "grades": "Grades",
            "allows_tie": "Offer “equally good”",
            "allows_both_bad": "Offer “both bad”",
            "rationale": "Reason in words",
            "changeable_minutes": "Minutes in which an answer can be changed",
            "shows_agreement": "Annotators see how often they agree with the others",
            "allows_edit": "Let annotators edit the better answer",
            "asks_for_ratings": "Ask for thumbs up or down on single answers, too",
            "judgements_required": "Judgements per comparison",
            "lease_minutes": "Minutes until an unanswered comparison goes back to the queue",
            "consensus": "From judgements to triples",
            "confidence_bar": "Bar for the likeliest answer",
            "least_grade": "Least grade",
            "judgements_at_most": "Judgements at most where people disagree",
            "gold_feedback": "Tell annotators after a known answer what was expected, and why",
            "calibration_size": "Known answers that somebody new is given first",
            "calibration_stops": "Hand out nothing more to somebody who is not calibrated, until a manager lets them go on",
            "temperature": "Temperature",
            "top_p": "Top-p",
            "max_new_tokens": "Longest answer, in tokens",
            "answers_per_pair": "Answers sampled for a pair",
            "leaves_out_makers": "Leave out pairs in which an answer names its maker",
            "queue_low": "Generate below … open comparisons",
            "queue_high": "Generate up to … open comparisons",
            "promoting": "A finished run's version starts to serve",
            "trains_after": "Start a run after … new judgements",
            "trains_on": "Start a run on",
            "trains_at": "… at",
            "evaluates_finished_runs": "Compare a finished run's version blindly with the one that served",
            "evaluation_prompts": "Held-out prompts of an evaluation",
            "promotion_bar": "Bar for the win rate",
        }
        widgets = {"trains_at": forms.TimeInput(attrs={"type": "time"}, format="%H:%M")}
        help_texts = {
            "grades": "How finely people say which is better. A pair keeps the grades it was first shown with.",
            "changeable_minutes": "Each change is kept beside what was said before. 0: never.",
            "asks_for_ratings": "On the page Rate, one answer at a time. KTO learns from them.",
            "shows_agreement": "As one figure over many pairs, once there are enough. Never what others said of a pair.",
            "allows_edit": "The edited one then beats both answers in the triples, as it was done for Llama 3.",
            "judgements_required": "Comparisons that are open now follow. What is done stays done.",
            "consensus": "Majority and unanimous wait until a comparison has all its judgements; a divided one gives no triple. "
            "Every judgement waits for nobody: people who disagree give triples that pull both ways. By reliability estimates "
            "how often each person is right (Dawid–Skene); a triple then weighs as much as its answer is likely.",
            "confidence_bar": "A probability. Comparisons whose likeliest answer stays below come to Review; by reliability they "
            "give no triple.",
            "least_grade": "Weaker preferences give no triple, and are counted. On a scale of 2 each one is “better”.",
            "judgements_at_most": "While no answer has more than half of the judgements, one more is asked for. 0: no more.",
            "gold_feedback": "It shows them which pair was a known one. Their answer then stands.",
            "calibration_size": "0: they start at once. Where there is less gold, all of it will do.",
            "temperature": "Higher: answers differ more. At 0 both answers would be the same.",
            "answers_per_pair": "Of more than 2, the best and the worst by the version's own reward. Base models: 2.",
            "leaves_out_makers": "“As ChatGPT …” tells who wrote it. Such answers are written anew, then left out and counted. "
            "It holds for what is generated from now on.",
            "top_p": "Only the likeliest words that make up this share are drawn from.",
            "trains_after": "Counted since the last run began. 0: only when somebody starts one.",
            "trains_on": "If anything has been judged since the last run. It uses the preset above.",
            "trains_at": "The hour and minute, in the site's time zone.",
            "evaluates_finished_runs": "By itself. A version that serves only after an evaluation is always compared.",
            "evaluation_prompts": "Each is judged among the other pairs. It ends early once it is plain who wins.",
            "promotion_bar": "A version passes when the lower bound of its win rate is above: 0.5 means that it is better.",
        }

    SECTIONS = (
        ("Project", "", ("name",)),
        ("Answers", "What annotators are offered beside a pair.",
         ("grades", "allows_tie", "allows_both_bad", "rationale", "allows_edit", "flags", "asks_for_ratings",
          "changeable_minutes", "shows_agreement")),
        ("Handing out", "How often a comparison is judged, and by when.", ("judgements_required", "lease_minutes")),
        ("Queue", "Which comparison an annotator gets next. Nobody can tell which kind it is.",
         ("gold_share", "evaluation_share", "random_share", "judgements_at_most")),
        ("Known answers", "Pairs are marked as gold on the page Gold. They show who reads; they are never trained on.",
         ("calibration_size", "calibration_bar", "calibration_stops", "gold_feedback")),
        ("From judgements to triples", "What comparisons teach. Judgements stay as they are: it can be changed at any time.",
         ("consensus", "confidence_bar", "least_grade")),
        ("Generating", "How the serving version writes the two answers, and when.",
         ("temperature", "top_p", "max_new_tokens", "answers_per_pair", "queue_low", "queue_high",
          "leaves_out_makers", "maker_names")),
        ("Training", "What a run uses unless the Train form says otherwise.", 
         ("preset", "promoting", "trains_after", "trains_on", "trains_at")),
        ("Evaluating", "Annotators compare two versions blindly, on prompts that nobody trains on.",
         ("evaluates_finished_runs", "evaluation_prompts", "promotion_bar")),
    )  # fmt: skip

    # Each has a row to itself: nothing stands beside it, so its words have room.
    ALONE = frozenset(
        {
            "name",
            "changeable_minutes",
            "judgements_required",
            "lease_minutes",
            "judgements_at_most",
            "confidence_bar",
            "trains_after",
            "trains_at",
        }
    )

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = {name: self.initial.get(name) for name in self.Meta.fields}
        self.initial["seen"] = _fingerprint(self.stored)

    def sections(self) -> list[tuple[str, str, list[forms.BoundField]]]:
        return [(title, tells, [self[name] for name in names]) for title, tells, names in self.SECTIONS]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self._check_nobody_was_quicker(cleaned)
        low, high = cleaned.get("queue_low"), cleaned.get("queue_high")
        if low is not None and high is not None and low > high:
            self.add_error("queue_low", "The low mark of the queue must not be above its high mark.")
        gold, evaluation = cleaned.get("gold_share"), cleaned.get("evaluation_share")
        if gold is not None and evaluation is not None and gold + evaluation > 1 + 1e-6:
            self.add_error("gold_share", "Known answers and blind evaluation together are at most 100 %.")
        if cleaned.get("temperature", 1) < LEAST_TEMPERATURE:
            self.add_error(
                "temperature", "Near temperature 0 both answers are the same, so there is nothing to compare. Take 0.1 or more."
            )
        return cleaned

    def _check_nobody_was_quicker(self, cleaned: dict[str, Any]) -> None:
        """Two managers with the page open: who saves second is told what would be undone, and may save again."""
        seen = cleaned.pop("seen", "")
        if not seen or seen == self.initial["seen"]:
            return
        labels = [self[name].label for name, value in self.stored.items() if cleaned.get(name) != value]
        self.data = self.data.copy()
        self.data["seen"] = self.initial["seen"]
        self.add_error(
            None,
            "somebody else has changed the settings since you opened this page. Below are yours; different from what is stored "
            f"now: {', '.join(map(str, labels)) or 'nothing'}. Save again to keep yours.",
        )

    @transaction.atomic
    def save_settings(self) -> None:
        """The fields of this form, and nothing else of the project: others may write the rest at the same moment."""
        change_judgements_required(project=self.instance, required=self.cleaned_data["judgements_required"])
        self.instance.save(update_fields=self.Meta.fields)


def _fingerprint(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
