"""Reference log-probabilities: computed once per (reference, tokens, arithmetic), kept on disk under a content hash."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.dpo import distributed
from training.dpo.errors import ModelError
from training.dpo.logprobs import Precision, Scorer
from training.dpo.model import load_tokenizer, weights_sha256
from training.dpo.storage import write_file
from training.dpo.tokens import Example, examples_sha256

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.model")
BeforeEach = Callable[[int], None]


@dataclass(frozen=True)
class Reference:
    """What makes reference log-probabilities what they are, besides the pairs themselves."""

    directory: Path
    weights: str  # SHA-256 of its config and weights
    tokenizer: str  # SHA-256 of the tokenizer that made the ids
    template: str  # SHA-256 of the chat template
    lengths: tuple[int, int]  # longest prompt and completion
    compute: str  # arithmetic

    def key(self, examples: list[Example]) -> str:
        """Content hash under which the log-probabilities of `examples` are kept."""
        parts = [self.weights, self.tokenizer, self.template, self.lengths, self.compute, examples_sha256(examples)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def describe_reference(
    directory: Path, tokenizer_directory: Path, template: str, lengths: tuple[int, int], precision: Precision
) -> Reference:
    """Hash the ingredients. Raises ModelError when the reference has another vocabulary than the trained model."""
    tokenizer = tokenizer_sha256(tokenizer_directory)
    if tokenizer_sha256(directory) != tokenizer and not _same_vocabulary(directory, tokenizer_directory):
        raise ModelError(
            f"the reference {directory} has another vocabulary than {tokenizer_directory}, so their log-probabilities "
            "cannot be compared. Choose a reference of the same family."
        )
    return Reference(
        directory=directory,
        weights=weights_sha256(directory),
        tokenizer=tokenizer,
        template=hashlib.sha256(template.encode()).hexdigest(),
        lengths=lengths,
        compute=str(precision.compute).removeprefix("torch."),
    )


def reference_scores(
    reference: Reference,
    parts: dict[str, list[Example]],
    load: Callable[[], Scorer],
    cache: Path,
    before_each: Callable[[str, int], None],
) -> dict[str, torch.Tensor]:
    """(N, 2) log-probabilities for each named part, from the cache or computed now and cached.

    `load` gives the reference itself, and is only asked for when something is missing. `before_each` gets the part's name
    and the pairs done, before each micro-batch.
    """
    found = {name: _shared(_path(cache, reference, examples), len(examples)) for name, examples in parts.items()}
    missing = [name for name, scores in found.items() if scores is None]
    scorer = load() if missing else None
    for name in missing:
        examples = parts[name]
        assert scorer is not None
        scores = scorer.score(examples, lambda done, n=name: before_each(n, done))
        distributed.by_first(lambda path=_path(cache, reference, examples), kept=scores: _write(path, kept))
        found[name] = scores
    return {name: scores for name, scores in found.items() if scores is not None}


def tokenizer_sha256(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in (directory / name for name in TOKENIZER_FILES):
        if path.exists():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _same_vocabulary(first: Path, second: Path) -> bool:
    return load_tokenizer(first).get_vocab() == load_tokenizer(second).get_vocab()


def _path(cache: Path, reference: Reference, examples: list[Example]) -> Path:
    return cache / f"{reference.key(examples)}.safetensors"


def _write(path: Path, scores_N2: torch.Tensor) -> None:
    write_file(path, lambda partial: save_file({"logprobs": scores_N2}, partial), what="reference log-probabilities")


def _shared(path: Path, pairs: int) -> torch.Tensor | None:
    """What the first process finds kept, in all."""
    kept = _cached(path, pairs) if distributed.is_first() else None
    if not distributed.by_first(lambda: kept is not None):
        return None
    return distributed.total(kept if kept is not None else torch.zeros(pairs, 2))


def _cached(path: Path, pairs: int) -> torch.Tensor | None:
    """The kept tensor; None when there is none or the file is not whole, so that it is made again."""
    try:
        tensors: dict[str, Any] = load_file(path) if path.exists() else {}
    except (OSError, SafetensorError):
        return None
    scores = tensors.get("logprobs")
    return scores if scores is not None and scores.shape == (pairs, 2) and bool(scores.isfinite().all()) else None
