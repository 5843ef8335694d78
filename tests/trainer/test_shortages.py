"""What goes wrong around a run: files, disks, numbers, the GPU. Each time one message says what, where and what next."""

import ast
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.dpo import events
from training.dpo.__main__ import main
from training.dpo.errors import ConfigError, DataError, NonFiniteError, StorageError, TrainerError
from training.dpo.logprobs import Scorer

from .conftest import ROOT, read_events
from .test_training import Build, Train, of_kind, same, weights
from .tiny import make_row, write_rows


def test_faults_of_both_files_are_told_at_once(config: Build, train_here: Train) -> None:
    settings = config()
    write_rows(Path(settings["train"]), [make_row(0), make_row(1, chosen=[])])
    write_rows(Path(settings["heldout"]), [make_row(2), make_row(3), make_row(4, rejected=[])])
    with pytest.raises(DataError) as refused:
        train_here(settings)
    assert "train.jsonl line 2" in str(refused.value) and "heldout.jsonl line 3" in str(refused.value)


def test_an_infinite_gradient_of_a_finite_loss(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer does not step, the rows of the step are named, and the run can go on."""
    settings, real, calls = config(), Scorer.logprobs, []

    def steep(scorer: Scorer, examples: Any) -> torch.Tensor:
        scores = real(scorer, examples)
        if torch.is_grad_enabled():
            calls.append(1)
        if len(calls) == 7 and scores.requires_grad:
            scores.register_hook(lambda gradient: gradient * float("inf"))
        return scores

    monkeypatch.setattr(Scorer, "logprobs", steep)
    with pytest.raises(
        NonFiniteError, match=r"the gradient of step \d is not a finite number; rows: 'row-\d' .* weights of step \d are unharmed"
    ):
        train_here(settings)
    output = Path(settings["output"])
    [checkpoint] = (output / "checkpoint").iterdir()
    assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())
    monkeypatch.undo()
    assert same(weights(train_here(settings)), weights(train_here(config("unbroken"))))


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("CUDA error: unspecified launch failure", 719), RuntimeError("NCCL error: unhandled")]
)
def test_a_gpu_that_vanishes(error: RuntimeError, config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, real, calls = config(), Scorer.logprobs, []

    def vanish(scorer: Scorer, examples: Any) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        if sum(calls) > 8:
            raise error
        return real(scorer, examples)

    monkeypatch.setattr(Scorer, "logprobs", vanish)
    with pytest.raises(TrainerError, match=r"the GPU stopped working \(.*\)\. The last checkpoint stays\. When nvidia-smi shows"):
        train_here(settings)
    output = Path(settings["output"])
    assert "the GPU stopped working" in read_events(output)[-1]["message"] and list((output / "checkpoint").iterdir())
    monkeypatch.undo()
    assert same(weights(train_here(settings)), weights(train_here(config("unbroken"))))


def test_a_run_that_began_on_a_gpu_does_not_crawl_on_without_one(
    config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(device="auto")
    monkeypatch.setattr("training.dpo.run.save_version", lambda *given: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        train_here(settings)
    monkeypatch.undo()
    [state] = (Path(settings["output"]) / "checkpoint").glob("*/state.json")
    told = state.read_text()
    assert '"device": "cpu"' in told
    state.write_text(told.replace('"device": "cpu"', '"device": "cuda"'))
    with pytest.raises(ConfigError, match=r"began on cuda and would go on on cpu.*set device to \"cpu\" to go on there"):
        train_here(settings)
    assert of_kind(train_here(settings | {"device": "cpu"}), "done")


def test_an_output_that_cannot_be_made(config: Build, tmp_path: Path, capsys: Any) -> None:
    """Below a file; a directory that may only be read gives the same kind of error."""
    (tmp_path / "file").write_text("")
    settings = config() | {"output": str(tmp_path / "file" / "run")}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    assert main([str(path)]) == 1
    said = capsys.readouterr().err
    assert "cannot write the run to" in said and "Not a directory" in said and "start the same command again" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_events_that_cannot_be_written_end_the_run_in_words(
    number: int, config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, real = config(), events.json.dumps

    def refuse(record: Any, **options: Any) -> str:
        if isinstance(record, dict) and record.get("event") == "step" and record.get("step") == 3:
            raise OSError(number, os.strerror(number))
        return real(record, **options)

    monkeypatch.setattr(events.json, "dumps", refuse)
    with pytest.raises(StorageError, match=os.strerror(number)):
        train_here(settings)
    monkeypatch.undo()
    output = train_here(settings)
    assert [event["step"] for event in of_kind(output, "step")] == [1, 2, 3, 4, 5]
    assert same(weights(output), weights(train_here(config("unbroken"))))


def test_no_pickle_anywhere() -> None:
    """Neither imported nor reached through torch.load, torch.save or numpy."""
    for path in (ROOT / "training" / "dpo").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"pickle", "dill", "joblib", "cloudpickle", "shelve"} & set(names), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("torch", "np", "numpy"):
                assert node.attr not in ("load", "save"), path
