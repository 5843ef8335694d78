"""The card of a dataset or an export, as Markdown with the Hub's YAML head: counts, agreement, lengths, sources, licence, how."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Count, QuerySet
from django.utils import timezone

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.judged import pseudonym
from annotate.data.export_figures import NOMINAL, ExportFigures, median
from annotate.data.exports import ExportReport, Wanted
from annotate.formats.registry import TRIPLE_WRITERS
from annotate.models import Judgement, Project
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from annotate.quality.agreement import alpha_of, in_words
from annotate.text.counting import counted
from training.datasets.filters import Filters, filters_in_words
from training.models import Dataset

NO_LICENCE = "unknown"  # the Hub's word for it
LICENCE = re.compile(r"[a-z0-9][a-z0-9.\-]{1,60}")
CARD_FILE = "README.md"
AS_THE_HUB_SAYS = {Split.TRAIN: "train", Split.HELDOUT: "test"}
HELD_OUT_ARE = {
    "apart": " The prompts of `test` never trained anything in this project.",
    "among": " Held-out prompts, which never trained anything here, are among these rows: export one split to have them apart.",
    "none": "",
}
TRIPLES_ARE = "One pair a row: the answer that was found better and the one that was not."
ROWS_ARE = {
    "trl": "Pairs in TRL's conversational form: `prompt`, `chosen`, `rejected`, `margin` (the strength) and `weight`.",
    "trl-kto": "Single answers in TRL's unpaired form: `prompt`, `completion` and `label` (whether it is good).",
    "judgements": "Every judgement that stands, one a row: both answers, the outcome, its strength, who gave it (a pseudonym).",
}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


class NoLicence(ValueError):
    """What was given is no name of a licence; the text says what one looks like."""


def check_licence(given: str) -> str:
    """As the Hub writes it. Raises NoLicence."""
    licence = given.strip().lower() or NO_LICENCE
    if not LICENCE.fullmatch(licence):
        raise NoLicence("Write the licence as the Hub does: cc-by-4.0, mit, apache-2.0, other.")
    return licence


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One file that the card describes."""

    split: str  # as the Hub says
    path: str
    rows: int
    lengths: Mapping[str, int]  # medians, in characters


def card_of_dataset(
    dataset: Dataset, *, licence: str = NO_LICENCE, files: Path | None = None, paths: Mapping[Split, str] | None = None
) -> str:
    """Its triples are read from `files` (its directory if not given) and stand in the card as `paths`."""
    files, counts = files or dataset.path, {Split.TRAIN: dataset.train_count, Split.HELDOUT: dataset.heldout_count}
    names = {Split.TRAIN: "train.jsonl", Split.HELDOUT: "heldout.jsonl"}
    shown = paths or names
    parts = [
        _Part(split=AS_THE_HUB_SAYS[split], path=shown[split], rows=counts[split], lengths=_lengths_of(files / names[split]))
        for split in names
        if counts[split]
    ]
    judgements = Judgement.objects.filter(datasets=dataset)
    hashes = f"- SHA-256 of train: `{dataset.train_sha256}`\n- SHA-256 of test: `{dataset.heldout_sha256}`"
    return _text(
        title=f"{dataset.project.name}: dataset {dataset.number}",
        what=ROWS_ARE["trl"],
        made=f"Made with Prefloop from {counted(judgements.count(), 'judgement')} on {dataset.created_at:%d %B %Y}.",
        parts=parts,
        held_out="apart" if counts[Split.HELDOUT] else "none",
        tags=("dpo", "trl"),
        licence=licence,
        agreement=_agreement(_patterns(judgements)),
        counted_rows=_without(dataset.counts),
        sources=_sources(judgements),
        how=[*_how(dataset.project, dataset.filters), hashes],
    )


def card_of_export(
    *, project: Project, format: str, file_name: str, filters: Filters, wanted: Wanted, report: ExportReport,
    licence: str = NO_LICENCE,
) -> str:  # fmt: skip
    """`report`: what was counted as it was written, or by `annotate.data.exports.count_preferences`."""
    figures = report.figures
    lengths = {name: median(found) for name, found in figures.lengths.items()}
    split = AS_THE_HUB_SAYS[Split(wanted.split or Split.TRAIN)]
    judgements = Judgement.objects.standing().filter(wanted.chosen.pairs, wanted.chosen.votes, comparison__project=project)
    judgements = judgements.exclude(annotator__in=excluded_people(project))
    if wanted.split:
        judgements = judgements.filter(comparison__prompt__split=wanted.split)
    triples = format in TRIPLE_WRITERS
    counts = _without(report.without) if triples else _table("What was answered", "answer", figures.outcomes)
    rule = {"consensus": filters.consensus or project.consensus} if triples else {}
    return _text(
        title=f"{project.name}: {format}",
        what=ROWS_ARE.get(format, TRIPLES_ARE if triples else ROWS_ARE["judgements"]),
        made=f"Made with Prefloop on {timezone.localdate():%d %B %Y}{_people(figures)}.",
        parts=[_Part(split=split, path=file_name, rows=report.rows, lengths=lengths)],
        held_out={"": "among", Split.TRAIN: "none", Split.HELDOUT: "apart"}[wanted.split],
        tags=("kto", "trl") if format == "trl-kto" else ("dpo",),
        licence=licence,
        agreement=_agreement(_patterns(judgements) if triples else figures.patterns),
        counted_rows=counts + _table("Left out, since the format has no place for it", "reason", report.left_out),
        sources=_sources(judgements),
        how=_how(project, filters.as_json() | rule, wanted.split),
    )


def _text(
    *, title: str, what: str, made: str, parts: list[_Part], held_out: str, tags: tuple[str, ...], licence: str,
    agreement: str, counted_rows: str, sources: str, how: list[str],
) -> str:  # fmt: skip
    rows = sum(part.rows for part in parts)
    size = next((name for most, name in SIZES if rows < most), "n>1T" if rows >= 10**12 else "10M<n<100M")
    files = "\n".join(f"  - split: {part.split}\n    path: {json.dumps(part.path)}" for part in parts)
    named = "\n".join(f"- {tag}" for tag in ("preference", *tags, "prefloop"))
    columns = list(dict.fromkeys(name for part in parts for name in part.lengths))
    cells = [[part.split, f"{part.rows:,}", *(f"{part.lengths.get(name, 0):,}" for name in columns)] for part in parts]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    stated = "Not stated yet. Say which before it is shared." if licence == NO_LICENCE else f"`{licence}`"
    configs = f"configs:\n- config_name: default\n  data_files:\n{files}\n" if parts else ""
    return f"""---
pretty_name: {json.dumps(title, ensure_ascii=False)}
license: {licence}
size_categories:
- {size}
task_categories:
- text-generation
tags:
{named}
{configs}---

# {_plain(title)}

{what}
{made}

| split | rows | {" | ".join(columns)} |
| --- | --- |{" --- |" * len(columns)}
{table}

Lengths are medians, in characters.{HELD_OUT_ARE[held_out]}

## Agreement

{agreement}
{counted_rows}
## Where it comes from

{sources}
{chr(10).join(how)}

## Licence

{stated}
"""


def _plain(text: str) -> str:
    """A title in one line, whatever signs a project's name has."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _table(title: str, column: str, counts: Mapping[str, int]) -> str:
    found = [f"| {_plain(str(name)).lower()} | {count:,} |" for name, count in counts.items() if count]
    return f"\n## {title}\n\n| {column} | count |\n| --- | --- |\n" + "\n".join(found) + "\n" if found else ""


def _without(counts: Mapping[str, int]) -> str:
    return _table("What gave no triple", "reason", {str(reason).replace("_", " "): n for reason, n in counts.items()})


def _people(figures: ExportFigures) -> str:
    return f", from the answers of {counted(len(figures.people), 'person', 'people')}" if figures.people else ""


def _how(project: Project, kept: Mapping[str, object], split: str = "") -> list[str]:
    people = {pk: pseudonym(project, pk) for pk in kept.get("people", ())}
    told = filters_in_words(kept, names=people) + ([("Prompts", Split(split).label.lower())] if split else [])
    return [f"- {name}: {_plain(words)}" for name, words in told]


def _sources(judgements: QuerySet[Judgement]) -> str:
    """How many of the pairs were generated here, and how many each import brought."""
    rows = judgements.order_by().values_list("comparison__batch__number", "comparison__batch__file_name")
    found = rows.annotate(count=Count("comparison", distinct=True)).order_by("comparison__batch__number")
    return "\n".join(
        f"- {'Generated or pushed here' if number is None else f'Import {number}, {_plain(name)}'}: {counted(count, 'pair')}"
        for number, name, count in found
    )


def _patterns(judgements: QuerySet[Judgement]) -> Counter[tuple[int, ...]]:
    """What several people said of the same pair; held is one pair at a time."""
    found: Counter[tuple[int, ...]] = Counter()
    for answers in _by_comparison(judgements):
        if len(answers) > 1:
            found[tuple(sorted(answers))] += 1
    return found


def _by_comparison(judgements: QuerySet[Judgement]) -> Iterator[list[int]]:
    answers: list[int] = []
    last = None
    rows = judgements.order_by("comparison_id").values_list("comparison_id", "outcome")
    for comparison, outcome in rows.iterator(chunk_size=2000):
        if comparison != last:
            yield answers
            answers, last = [], comparison
        answers.append(NOMINAL[Outcome(outcome)])
    yield answers


def _agreement(patterns: Mapping[tuple[int, ...], int]) -> str:
    """Of the pairs that several people judged: Krippendorff's alpha of which answer is better."""
    value = alpha_of(patterns, level="nominal") if patterns else None
    if value is None:
        return "Each pair was judged by one person, or all say the same: agreement cannot be measured."
    several = sum(patterns.values())
    return f"Krippendorff's alpha {value:.2f} ({in_words(value)}), over {several:,} pairs with two judgements or more."


def _lengths_of(path: Path) -> dict[str, int]:
    found: dict[str, Counter[int]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for name in ("prompt", "chosen", "rejected", "completion"):
                if name in row:
                    found.setdefault(name, Counter())[sum(len(message["content"]) for message in row[name])] += 1
    return {name: median(lengths) for name, lengths in found.items()}


def file_name_of(project: Project, format: str, split: str) -> str:
    """Under which an export is downloaded."""
    suffix = "json" if format == "label-studio" else "jsonl"
    return f"{'-'.join(part for part in (project.slug, format, split) if part)}.{suffix}"
