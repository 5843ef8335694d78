"""Answers and pairs that programs bring along: answers of models that run elsewhere, to be compared here."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from annotate.formats.rows import Message
from annotate.models import Comparison, Completion, PreferenceImport, Project, Prompt
from annotate.models.comparison import ComparisonState
from annotate.models.prompt import Split, content_hash

LONGEST_MODEL_NAME = Completion._meta.get_field("model_name").max_length


@dataclass(frozen=True)
class Answer:
    text: str
    model: str = ""  # shown to managers only


@dataclass(frozen=True)
class Pair:
    messages: list[Message]
    first: Answer
    second: Answer
    priority: float = 0.0
    source: str = ""


def pair_hash(prompt: str, sides: Iterable[tuple[str, str]]) -> str:
    """What identifies a pair that did not come from a version here: its prompt (hash of the messages) and its (model, text)s,
    whichever is first."""
    parts = [prompt, *sorted([model, text] for model, text in sides)]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


@transaction.atomic
def ensure_prompts(
    *, project: Project, messages: Sequence[list[Message]], source: str = "", batch: PreferenceImport | None = None
) -> dict[str, Prompt]:
    """The prompts with these messages, by content hash; those that the project lacks are added."""
    wanted = {content_hash(each): each for each in messages}
    known = set(project.prompts.filter(content_hash__in=wanted).values_list("content_hash", flat=True))
    new = [
        Prompt(project=project, messages=each, content_hash=digest, split=Split.of(digest), source=source, batch=batch)
        for digest, each in wanted.items()
        if digest not in known
    ]
    Prompt.objects.bulk_create(new, ignore_conflicts=True)  # somebody may bring the same at this moment
    return {prompt.content_hash: prompt for prompt in project.prompts.filter(content_hash__in=wanted)}


@transaction.atomic
def add_completions(*, prompt: Prompt, answers: Sequence[Answer]) -> list[Completion]:
    """One row for each answer, in their order. One that the prompt has already (same text, same model) is that row."""
    Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk)
    known = {(row.model_name, row.text): row for row in prompt.completions.filter(version=None).order_by("-pk")}
    for answer in answers:
        key = (answer.model[:LONGEST_MODEL_NAME], answer.text)
        if key not in known:
            known[key] = Completion.objects.create(prompt=prompt, text=answer.text, model_name=key[0])
    return [known[answer.model[:LONGEST_MODEL_NAME], answer.text] for answer in answers]


@transaction.atomic
def add_pairs(*, project: Project, pairs: Sequence[Pair]) -> list[tuple[Comparison, bool]]:
    """The comparison of each pair, in their order, and whether it is new. New ones are open for the project's annotators."""
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    prompts = ensure_prompts(project=project, messages=[pair.messages for pair in pairs])
    hashes = [
        pair_hash(
            content_hash(pair.messages), [(side.model[:LONGEST_MODEL_NAME], side.text) for side in (pair.first, pair.second)]
        )
        for pair in pairs
    ]
    known = {comparison.content_hash: comparison for comparison in project.comparisons.filter(content_hash__in=hashes)}
    made: list[tuple[Comparison, bool]] = []
    for pair, digest in zip(pairs, hashes, strict=True):
        is_new = digest not in known
        if is_new:
            known[digest] = _create(project, prompts[content_hash(pair.messages)], pair, digest)
        made.append((known[digest], is_new))
    return made


def _create(project: Project, prompt: Prompt, pair: Pair, digest: str) -> Comparison:
    first, second = add_completions(prompt=prompt, answers=[pair.first, pair.second])
    return Comparison.objects.create(
        project=project,
        prompt=prompt,
        first=first,
        second=second,
        state=ComparisonState.OPEN,
        priority=pair.priority,
        judgements_required=project.judgements_required,
        free_places=project.judgements_required,
        source=pair.source,
        content_hash=digest,
    )


@transaction.atomic
def compare_completions(*, first: Completion, second: Completion, priority: float = 0.0) -> tuple[Comparison, bool]:
    """An open comparison of two answers to one prompt, and whether it is new: the same two are compared once."""
    project = Project.objects.select_for_update(no_key=True).get(pk=first.prompt.project_id)
    both = [first.pk, second.pk]
    known = project.comparisons.filter(first__in=both, second__in=both).first()
    if known:
        return known, False
    comparison = Comparison.objects.create(
        project=project,
        prompt=first.prompt,
        first=first,
        second=second,
        priority=priority,
        judgements_required=project.judgements_required,
        free_places=project.judgements_required,
    )
    return comparison, True
