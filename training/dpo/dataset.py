"""What a run learns from: the rows of its files as token ids, checked, and for KTO the mismatched pairs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from training.dpo.config import UNPAIRED, Config
from training.dpo.data import Triple, file_sha256, read_triples
from training.dpo.errors import DataError
from training.dpo.mismatched import mismatched, mismatched_name
from training.dpo.model import load_tokenizer, longest_row
from training.dpo.preflight import check_audit
from training.dpo.samples import Sampled, Samples
from training.dpo.tokens import Example, Limits, Tokenised, find_ending, require_pairs, tokenise

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    tokenizer: Any
    train: Tokenised
    heldout: Tokenised | None
    hashes: dict[str, str]  # of the files
    samples: Samples
    mismatched: dict[str, list[Example]] = field(default_factory=dict)  # of each part, for kto only

    @property
    def parts(self) -> dict[str, list[Example]]:
        """Rows by name; without held-out ones when there are none or all were too long."""
        heldout = self.heldout.examples if self.heldout else []
        return {"train": self.train.examples} | ({"heldout": heldout} if heldout else {})

    @property
    def scored(self) -> dict[str, list[Example]]:
        """What the reference scores: the rows, and for kto their mismatched pairs."""
        return self.parts | {mismatched_name(name): examples for name, examples in self.mismatched.items()}


def read_data(config: Config) -> Data:
    """Read and tokenise both files. Raises DataError, ModelError."""
    tokenizer = load_tokenizer(Path(config.model))
    find_ending(tokenizer)
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens, longest_row(Path(config.model)), config.over_long)
    paths = {"train": Path(config.train)} | ({"heldout": Path(config.heldout)} if config.heldout else {})
    triples = of_all(paths, lambda name, path: read_triples(path, config.loss in UNPAIRED))
    read = of_all(paths, lambda name, path: tokenise(tokenizer, triples[name], path, limits))
    if config.loss == "sft":
        read = {name: with_chosen(tokenised, paths[name]) for name, tokenised in read.items()}
    for name, path in paths.items():
        check_audit(read[name].audit, path)
    require_pairs(read["train"], Path(config.train), limits)
    if config.loss != "dpo_ties" and (ties := [example.line for example in read["train"].examples if example.tie]):
        raise DataError(
            f"{config.train}: lines {', '.join(map(str, ties[:20]))} are ties, from which the loss {config.loss} would learn the "
            'wrong thing. Leave them out, or set loss to "dpo_ties".'
        )
    part = "heldout" if "heldout" in read and read["heldout"].examples else "train"
    prompts = prompts_of(triples[part], read[part].examples, config.samples)
    samples = Samples(prompts, part, tokenizer, find_ending(tokenizer).token_id)
    hashes = {name: file_sha256(path) for name, path in paths.items()}
    data = Data(tokenizer, read["train"], read.get("heldout"), hashes, samples)
    return replace(data, mismatched=mismatched_of(data.parts, paths, limits)) if config.loss == "kto" else data


def of_all(paths: dict[str, Path], read: Callable[[str, Path], T]) -> dict[str, T]:
    """`read` of each file by name. Raises one DataError with the faults of all."""
    found: dict[str, T] = {}
    faults: list[str] = []
    for name, path in paths.items():
        try:
            found[name] = read(name, path)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return found


def prompts_of(triples: list[Triple], examples: list[Example], count: int) -> list[Sampled]:
    """The first `count` different prompts of the file."""
    messages = {triple.line: triple.prompt for triple in triples}
    first: dict[tuple[int, ...], Sampled] = {}
    for example in examples:
        if len(first) == count:
            break
        first.setdefault(example.prompt, Sampled(example.line, example.id, messages[example.line], example.prompt))
    return list(first.values())


def with_chosen(tokenised: Tokenised, path: Path) -> Tokenised:
    """Without rows of an undesirable answer alone, from which SFT has nothing to learn; the audit counts them."""
    kept = [example for example in tokenised.examples if example.chosen]
    if tokenised.examples and not kept:
        raise DataError(f"{path}: no row has a desirable answer, and the loss sft learns from no other. Add some.")
    return Tokenised(kept, tokenised.audit | {"pairs": len(kept), "left_out": len(tokenised.examples) - len(kept)})


def mismatched_of(parts: dict[str, list[Example]], paths: dict[str, Path], limits: Limits) -> dict[str, list[Example]]:
    """Of each part; few held-out rows, which may share a prompt, borrow answers of the training rows."""
    try:
        return {
            name: mismatched(examples, parts["train"] if name == "heldout" else (), limits.max_row)
            for name, examples in parts.items()
        }
    except DataError as error:
        raise DataError(f"{paths['train']}: {error}") from error
