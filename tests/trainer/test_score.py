"""`python -m training.dpo score`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.dpo.__main__ import main
from training.dpo.data import read_triples
from training.dpo.model import load_model, load_tokenizer
from training.dpo.score import hanley, summary_of, tell, wilson
from training.dpo.tokens import encode, find_ending

from .conftest import ROOT
from .tiny import make_config, make_row, make_tiny_model, write_rows


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", [make_row(0), make_row(1, rejected_truncated=True), make_row(2)])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def slow_logprob(directory: Path, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    table = load_model(directory, torch.device("cpu"))(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(table[len(prompt) + place - 1, token].item() for place, token in enumerate(answer))


def test_log_probabilities_and_rewards(tiny_model_dir: Path, triples: Path, tmp_path: Path, capsys: Any) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    output = tmp_path / "scores.jsonl"
    words = ["score", str(triples), "--model", str(tiny_model_dir), "--reference", str(other), "--output", str(output)]
    assert main([*words, "--beta", "0.5"]) == 0
    tokenizer = load_tokenizer(tiny_model_dir)
    examples = [encode(tokenizer, triple, find_ending(tokenizer)) for triple in read_triples(triples)]
    for row, example in zip(read(output), examples, strict=True):
        ours = [slow_logprob(tiny_model_dir, example.prompt, answer) for answer in (example.chosen, example.rejected)]
        theirs = [slow_logprob(other, example.prompt, answer) for answer in (example.chosen, example.rejected)]
        assert [row["chosen_logp"], row["rejected_logp"]] == pytest.approx(ours, abs=1e-3)
        assert row["chosen_reward"] == pytest.approx(0.5 * (ours[0] - theirs[0]), abs=1e-3)
        assert row["margin"] == pytest.approx(0.5 * (ours[0] - theirs[0] - ours[1] + theirs[1]), abs=1e-3)
        assert (row["line"], row["id"], row["rejected_tokens"]) == (example.line, example.id, len(example.rejected))
    assert "3 pairs; ranked as annotated by implicit reward: " in capsys.readouterr().err


def test_without_a_reference_to_standard_output(tiny_model_dir: Path, triples: Path, capsys: Any) -> None:
    assert main(["score", str(triples), "--model", str(tiny_model_dir)]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and "margin" not in json.loads(said.out.splitlines()[0])
    assert "by log-probability" in said.err


def test_bad_input_is_one_line(tiny_model_dir: Path, triples: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["score", str(tmp_path / "none.jsonl"), "--model", str(tiny_model_dir)]) == 2
    assert main(["score", str(triples), "--model", str(tmp_path)]) == 2
    assert main(["score", str(triples), "--model", str(tiny_model_dir), "--max-completion-tokens", "2"]) == 2
    assert main(["score", str(triples), "--model", str(tiny_model_dir), "--output", str(tmp_path / "no" / "file")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ["cannot read" in lines[0], "has no config.json" in lines[1], "cannot write the scores" in lines[-1]] == [True] * 3


def test_a_wrong_path_is_told_before_torch_is_loaded(triples: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from training.dpo.__main__ import main; "
        f"assert main(['score', {str(triples)!r}, '--model', {str(tmp_path / 'none')!r}]) == 2; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "none does not exist" in done.stderr, done.stderr


def test_help_names_the_choices(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert "[dpo], robust, ipo" in said and "paper, small, lora: " in said and "[rmsprop], adamw" in said


def test_the_summary_counts_equal_margins_as_half() -> None:
    summary = summary_of([{"chosen_reward": reward, "rejected_reward": 1.0} for reward in (2.0, 1.0, 0.0, -1.0)])
    assert (summary["accuracy"], summary["margin"]) == (0.375, -0.5)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_one_pair_is_no_pairs(capsys: Any) -> None:
    tell(summary_of([{"chosen_reward": 1.0, "rejected_reward": 0.0}]))
    assert capsys.readouterr().err.startswith("1 pair; ranked as annotated")


def test_a_config_alone_means_train(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "run.json"
    path.write_text("{}")
    assert main([str(path)]) == main(["train", str(path)]) == 2
    assert capsys.readouterr().err.count("model: missing") == 2


def test_sft_is_train_with_its_loss(tiny_model_dir: Path, tmp_path: Path, capsys: Any) -> None:
    def weights(command: str, **settings: Any) -> bytes:
        here = tmp_path / command
        config = here / "config.json"
        asked = make_config(tiny_model_dir, here, heldout=0, max_steps=2, **settings)
        config.write_text(json.dumps(asked))
        subprocess.run([sys.executable, "-m", "training.dpo", command, str(config)], cwd=ROOT, check=True, capture_output=True)
        return (here / "run" / "model" / "model.safetensors").read_bytes()

    assert weights("sft") == weights("train", loss="sft")
    (tmp_path / "dpo.json").write_text('{"loss": "dpo"}')
    assert main(["sft", str(tmp_path / "dpo.json")]) == 2
    assert "this command is for sft. Leave it out, or use train." in capsys.readouterr().err


def test_single_answers(tiny_model_dir: Path, tmp_path: Path, capsys: Any) -> None:
    """Each couple of a desirable and an undesirable answer counts once."""
    pairs = [make_row(number) for number in range(3)]
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in pairs
        for side in ("chosen", "rejected")
    ]
    triples, output = write_rows(tmp_path / "single.jsonl", rows[:-1]), tmp_path / "scores.jsonl"
    assert main(["score", str(triples), "--model", str(tiny_model_dir), "--output", str(output)]) == 0
    found = read(output)
    assert [row["chosen_logp"] is None for row in found] == [False, True, False, True, False]
    assert [row["rejected_tokens"] == 0 for row in found] == [True, False, True, False, True]
    liked, disliked = ([row[key] for row in found if row[key] is not None] for key in ("chosen_logp", "rejected_logp"))
    share = sum(one > two for one in liked for two in disliked) / 6
    assert f"ranked as annotated by log-probability: {share:.1%}" in capsys.readouterr().err
    write_rows(triples, rows[:1])
    assert main(["score", str(triples), "--model", str(tiny_model_dir), "--output", str(output)]) == 0
    assert "all of one kind" in capsys.readouterr().err
    assert hanley(0.8, 20, 30) == pytest.approx((0.6678, 0.9322), abs=1e-4) and hanley(1.0, 3, 2) == (1.0, 1.0)
