"""What an import stores of comparisons with their answers: prompts, completions, comparisons, assignments, judgements."""

import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotate.data.imported_annotators import find_imported_annotator
from annotate.data.pairs import pair_hash
from annotate.formats.rows import BadRow, PreferenceRow
from annotate.models import Assignment, Comparison, Completion, Judgement, PreferenceImport, Project, Prompt, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split, content_hash
from annotate.models.scale import Grades
from annotate.queue.places import recount_places
from annotate.review.disputes import note_disputes

MAX_STRENGTH = max(Grades).strengths


@dataclass(slots=True)
class _Row:
    """A row with what identifies it."""

    given: PreferenceRow
    prompt: str  # the hash of its messages
    comparison: str  # that of the pair, whichever side comes first
    annotator: User
    strength: int
    turned: bool = False  # the comparison is stored with the sides the other way round

    @property
    def outcome(self) -> Outcome:
        """In the order of the comparison that is stored."""
        return self.given.outcome.swapped if self.turned else self.given.outcome


class Storing:
    """The rows of one file on their way into the database, a chunk at a time."""

    def __init__(self, batch: PreferenceImport, split: str, judge_again: bool) -> None:
        self.batch, self.project, self.split, self.judge_again = batch, batch.project, split, judge_again
        self.annotators: dict[str, User] = {}

    @transaction.atomic
    def store(self, given: list[PreferenceRow]) -> list[BadRow]:
        """Adds what is new; returns the rows that cannot be kept as they are."""
        Project.objects.select_for_update(no_key=True).get(pk=self.project.pk)  # two imports come one after the other
        bad = [_without_tools(row) for row in given if row.meta.get("tools")]
        rows = [self._identify(row) for row in given if not row.meta.get("tools")]
        known = self._known_comparisons(rows)
        new, contradicting = self._only_new(rows, known)
        comparisons = known | self._add_comparisons(
            [row for row in new if row.comparison not in known], Counter(row.comparison for row in new)
        )
        self._add_judgements(new, comparisons)
        self._make_room([known[row.comparison].pk for row in new if row.comparison in known])
        note_disputes(comparison.pk for comparison in comparisons.values())
        self.batch.judgements += len(new)
        self.batch.known += len(rows) - len(new) - len(contradicting)
        return bad + contradicting

    def _identify(self, row: PreferenceRow) -> _Row:
        prompt = content_hash(row.prompt)
        pair = pair_hash(prompt, [(_model(row, "model_a"), row.a), (_model(row, "model_b"), row.b)])
        annotator = self._annotator(str(row.meta.get("annotator", "")))
        return _Row(row, prompt, pair, annotator, _strength(row))

    def _annotator(self, given: str) -> User:
        if given not in self.annotators:
            self.annotators[given] = find_imported_annotator(self.project, given)
        return self.annotators[given]

    def _known_comparisons(self, rows: list[_Row]) -> dict[str, Comparison]:
        """Those that are there already, locked. Their rows are turned to the order in which they are stored."""
        hashes = {row.comparison for row in rows}
        found = self.project.comparisons.filter(content_hash__in=hashes).select_related("first").order_by("pk")
        known = {comparison.content_hash: comparison for comparison in found.select_for_update(of=("self",), no_key=True)}
        first = {key: (comparison.first.model_name, comparison.first.text) for key, comparison in known.items()}
        for row in rows:
            side = (_model(row.given, "model_a"), row.given.a)
            row.turned = first.setdefault(row.comparison, side) != side  # the first row of a new pair decides on its order
        return known

    def _only_new(self, rows: list[_Row], known: dict[str, Comparison]) -> tuple[list[_Row], list[BadRow]]:
        """One judgement per pair and annotator: the same again is known, another one cannot stand beside it."""
        stored = Judgement.objects.standing().filter(comparison__in=known.values())
        stand = {
            (key, annotator): (Outcome(outcome), strength)
            for key, annotator, outcome, strength in stored.values_list(
                "comparison__content_hash", "annotator_id", "outcome", "strength"
            )
        }
        new, contradicting = [], []
        for row in rows:
            key, answer = (row.comparison, row.annotator.pk), (row.outcome, row.strength)
            if key not in stand:
                stand[key] = answer
                new.append(row)
            elif stand[key] != answer:
                contradicting.append(_contradicts(row, stand[key]))
        return new, contradicting

    def _add_prompts(self, rows: list[_Row]) -> dict[str, int]:
        messages = _first_by("prompt", rows)
        known = dict(self.project.prompts.filter(content_hash__in=messages).values_list("content_hash", "pk"))
        new = [
            Prompt(
                project=self.project,
                messages=row.given.prompt,
                content_hash=digest,
                split=self.split or Split.of(digest),
                source=self._source(row),
                batch=self.batch,
            )
            for digest, row in messages.items()
            if digest not in known
        ]
        Prompt.objects.bulk_create(new, ignore_conflicts=True)  # somebody may import the same as prompts at this moment
        self.batch.prompts += len(new)
        return dict(self.project.prompts.filter(content_hash__in=messages).values_list("content_hash", "pk"))

    def _add_comparisons(self, rows: list[_Row], judgements: Counter[str]) -> dict[str, Comparison]:
        firsts = _first_by("comparison", rows)
        prompts = self._add_prompts(rows)
        completions = [
            Completion(prompt_id=prompts[row.prompt], text=text, model_name=_model(row.given, model))
            for row in firsts.values()
            for text, model in ((row.given.a, "model_a"), (row.given.b, "model_b"))
        ]
        Completion.objects.bulk_create(completions)
        again = self.project.judgements_required if self.judge_again else 0
        rounds = Comparison.objects.rounds_of(prompts.values())
        comparisons = [
            Comparison(
                project=self.project,
                prompt_id=prompts[row.prompt],
                first=first,
                second=second,
                state=ComparisonState.OPEN if again else ComparisonState.DONE,
                round=_next(rounds, prompts[row.prompt]),
                judgements_required=judgements[key] + again if again else 1,
                free_places=again,
                batch=self.batch,
                source=self._source(row),
                content_hash=key,
            )
            for (key, row), first, second in zip(firsts.items(), completions[::2], completions[1::2], strict=True)
        ]
        Comparison.objects.bulk_create(comparisons)
        self.batch.comparisons += len(comparisons)
        return {comparison.content_hash: comparison for comparison in comparisons}

    def _add_judgements(self, rows: list[_Row], comparisons: dict[str, Comparison]) -> None:
        """Each under an assignment that is judged; that of a judgement that was withdrawn serves again."""
        theirs = Assignment.objects.filter(
            comparison__in=[comparisons[row.comparison].pk for row in rows], annotator__in={row.annotator.pk for row in rows}
        )
        found = {(assignment.comparison_id, assignment.annotator_id): assignment for assignment in theirs}
        now, added, judgements = timezone.now(), [], []
        for row in rows:
            comparison, meta = comparisons[row.comparison], row.given.meta
            assignment = found.get((comparison.pk, row.annotator.pk))
            if assignment is None:
                assignment = Assignment(
                    id=uuid.uuid4(),
                    comparison=comparison,
                    annotator=row.annotator,
                    swapped=(meta.get("left") == "second") != row.turned,
                    grades=_grades(row),
                    state=AssignmentState.JUDGED,
                    leased_at=now,
                    expires_at=now,
                )
                added.append(assignment)
            judgements.append(
                Judgement(
                    assignment=assignment,
                    comparison=comparison,
                    annotator=row.annotator,
                    outcome=row.outcome,
                    strength=row.strength,
                    seconds=_seconds(meta.get("seconds")),
                    rationale=str(meta.get("rationale", "")),
                    flags=meta["flags"] if isinstance(meta.get("flags"), list) else [],
                    edited_text=str(meta.get("edited_text", "")),
                    batch=self.batch,
                )
            )
        Assignment.objects.bulk_create(added)
        Judgement.objects.bulk_create(judgements)

    def _make_room(self, comparison_ids: list[int]) -> None:
        """One more imported judgement takes no place of the people who are to judge an open comparison."""
        for pk, number in Counter(comparison_ids).items():
            open_ones = Comparison.objects.filter(pk=pk, batch__isnull=False, state=ComparisonState.OPEN)
            open_ones.update(judgements_required=F("judgements_required") + number)
        recount_places(set(comparison_ids))

    def _source(self, row: _Row) -> str:
        longest = Comparison._meta.get_field("source").max_length
        given = row.given.meta.get("id")
        return f"{self.batch.file_name}#{row.given.line if given is None else given}"[:longest]


def _next(counts: Counter[int], key: int) -> int:
    """What has been counted of the key so far; this one is counted too."""
    counts[key] += 1
    return counts[key] - 1


def _first_by(name: str, rows: list[_Row]) -> dict[str, _Row]:
    """The first row of each prompt or comparison, in the order of the file."""
    firsts: dict[str, _Row] = {}
    for row in rows:
        firsts.setdefault(getattr(row, name), row)
    return firsts


def _model(row: PreferenceRow, side: str) -> str:
    return str(row.meta.get(side, ""))[: Completion._meta.get_field("model_name").max_length]


def _strength(row: PreferenceRow) -> int:
    """The nearest of those that a scale has; halves go up."""
    if row.outcome not in (Outcome.FIRST, Outcome.SECOND):
        return 0
    return max(1, int(min(row.strength, MAX_STRENGTH) + 0.5))


def _grades(row: _Row) -> Grades:
    """The scale that the file names, else the smallest that has the strength."""
    given = row.given.meta.get("grades")
    if isinstance(given, int) and given in Grades.values and row.strength <= Grades(given).strengths:
        return Grades(given)
    return next(grades for grades in Grades if grades.strengths >= row.strength)


def _seconds(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if usable else None


def _without_tools(row: PreferenceRow) -> BadRow:
    return BadRow(row.line, "It comes with tools, which a prompt cannot keep yet.", "Leave the row out, or its tools.")


def _contradicts(row: _Row, stands: tuple[Outcome, int]) -> BadRow:
    reason = f"The same annotator judged the same pair otherwise, here or in an earlier file ({stands[0].label.lower()})."
    return BadRow(row.given.line, reason, "Delete one of the two rows, or say in each who judged.")
