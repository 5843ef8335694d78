"""The cache of reference log-probabilities: any ingredient that changes them changes their key."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from training.dpo.errors import ModelError
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.model import load_model
from training.dpo.reference import Reference, describe_reference, reference_scores
from training.dpo.tokens import Example

from .tiny import make_tiny_model, tiny_tokenizer

EXAMPLES = [Example(1, "a", (1, 50), (60, 2), (70, 2), 1.0, 0.0), Example(2, "b", (1, 51), (61, 2), (71, 2), 1.0, 0.0)]
BASE = Reference(Path("m"), weights="w", tokenizer="t", template="c", lengths=(10, 20), compute="float32")
FLOAT32 = Precision(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "change",
    [{"weights": "x"}, {"tokenizer": "x"}, {"template": "x"}, {"lengths": (10, 21)}, {"compute": "bfloat16"}],
)
def test_each_ingredient_is_in_the_key(change: dict[str, Any]) -> None:
    assert dataclasses.replace(BASE, **change).key(EXAMPLES) != BASE.key(EXAMPLES)


@pytest.mark.parametrize("change", [{"prompt": (1, 52)}, {"chosen": (62, 2)}, {"rejected": (72, 2)}])
def test_every_token_and_the_order_are_in_the_key(change: dict[str, Any]) -> None:
    changed = [dataclasses.replace(EXAMPLES[0], **change), EXAMPLES[1]]
    assert BASE.key(changed) != BASE.key(EXAMPLES)
    assert BASE.key(EXAMPLES[::-1]) != BASE.key(EXAMPLES)
    assert BASE.key(list(EXAMPLES)) == BASE.key(EXAMPLES)


def test_directories_with_the_same_content_share_a_key(tmp_path: Path) -> None:
    first, second, other = (make_tiny_model(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    keys = [describe_reference(path, first, "template", (10, 20), FLOAT32).key(EXAMPLES) for path in (first, second, other)]
    assert keys[0] == keys[1] != keys[2]


def test_computed_once(tiny_model_dir: Path, tmp_path: Path) -> None:
    reference = describe_reference(tiny_model_dir, tiny_model_dir, "template", (10, 20), FLOAT32)

    def load() -> Scorer:
        loaded.append(1)
        return Scorer(load_model(tiny_model_dir, FLOAT32.device), FLOAT32, ForwardPath(packed=True, budget=1000))

    def scores() -> torch.Tensor:
        return reference_scores(reference, {"train": EXAMPLES}, load, tmp_path, lambda part, done: None)["train"]

    loaded: list[int] = []
    first = scores()
    assert torch.equal(scores(), first) and len(loaded) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_a_reference_of_another_vocabulary_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(other)
    with pytest.raises(ModelError, match="has another vocabulary"):
        describe_reference(other, tiny_model_dir, "template", (10, 20), FLOAT32)
