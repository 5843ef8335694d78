"""Datasets: what was judged, in files that never change."""

import gzip
import hashlib
import json
import os
import stat

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.data.exports import FORMATS
from annotate.models import User
from annotate.models.judgement import Judgement
from annotate.models.prompt import Split
from tests import builders
from tests.training.judges import judge_all, shorter
from training.datasets.previews import preview_dataset
from training.datasets.snapshots import NothingToTrainOn, create_dataset
from training.models import Dataset

FILES = ("train.jsonl", "heldout.jsonl")


def add_pairs(project, train: int = 3, heldout: int = 2) -> None:
    for split, count in ((Split.TRAIN, train), (Split.HELDOUT, heldout)):
        for _ in range(count):
            prompt = builders.make_prompt(project, split=split)
            first, second = (builders.make_completion(prompt, text) for text in ("Short.", "A longer answer."))
            builders.make_comparison(project, prompt, first=first, second=second)


@pytest.fixture
def judged(project, annotator, var_dir):
    add_pairs(project)
    judge_all(project, annotator, shorter)
    return project


def rows(dataset: Dataset, name: str) -> list[dict]:
    return [json.loads(line) for line in (dataset.path / name).read_text().splitlines()]


def test_every_judgement_is_in_its_splits_file(judged, manager) -> None:
    dataset = create_dataset(project=judged, by=manager)
    assert (dataset.number, dataset.train_count, dataset.heldout_count, dataset.created_by) == (1, 3, 2, manager)
    assert [len(rows(dataset, name)) for name in FILES] == [3, 2]
    assert all(row["chosen"][0]["content"] == "Short." for name in FILES for row in rows(dataset, name))
    assert set(dataset.judgements.all()) == set(Judgement.objects.all())
    assert dataset.filters == {"consensus": "majority"}


def test_the_files_are_read_only_and_carry_their_hash(judged) -> None:
    dataset = create_dataset(project=judged)
    for name, sha256 in zip(FILES, (dataset.train_sha256, dataset.heldout_sha256), strict=True):
        path = dataset.path / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert sorted(path.name for path in dataset.path.parent.iterdir()) == ["d1"]


def test_nothing_new_gives_the_same_dataset_and_something_new_another(judged, annotator) -> None:
    first = create_dataset(project=judged)
    before = (first.path / "train.jsonl").read_bytes()
    assert create_dataset(project=judged) == first and Dataset.objects.count() == 1
    add_pairs(judged, train=1, heldout=0)
    judge_all(judged, annotator, shorter)
    second = create_dataset(project=judged)
    assert (second.number, second.train_count) == (2, 4)
    assert (first.path / "train.jsonl").read_bytes() == before


def test_ties_are_counted_and_leave_nothing_to_train_on(project, annotator, var_dir) -> None:
    with pytest.raises(NothingToTrainOn, match="Nothing has been judged yet"):
        create_dataset(project=project)
    add_pairs(project)
    judge_all(project, annotator, lambda a, b: "tie")
    with pytest.raises(NothingToTrainOn, match=r"\(5 ties\)"):
        create_dataset(project=project)
    assert not Dataset.objects.exists() and not list(var_dir.glob("datasets/*/*"))


def test_a_preview_tells_what_a_dataset_would_hold(judged, annotator) -> None:
    add_pairs(judged, train=1)
    judge_all(judged, annotator, lambda a, b: "both_bad")
    preview = preview_dataset(project=judged)
    assert (preview.train, preview.heldout, preview.without["both_bad"]) == (3, 2, 3)


def test_a_directory_that_a_crash_left_is_replaced(judged, var_dir) -> None:
    left = var_dir / "datasets" / judged.slug / "d1"
    left.mkdir(parents=True)
    (left / "train.jsonl").write_text("half of someth")
    assert len(rows(create_dataset(project=judged), "train.jsonl")) == 3


def test_many_judgements_are_linked_in_batches(judged, monkeypatch, django_assert_max_num_queries) -> None:
    monkeypatch.setattr("training.datasets.snapshots.ROWS_AT_ONCE", 2)
    assert create_dataset(project=judged).judgements.count() == 5


def test_one_that_was_broken_off_is_completed(judged, monkeypatch) -> None:
    """Its row was there, and a part of what it rests on."""
    monkeypatch.setattr("training.datasets.snapshots.ROWS_AT_ONCE", 2)

    def stop() -> None:
        if Dataset.objects.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_dataset(project=judged, pulse=stop)
    broken = Dataset.objects.get()
    assert broken.judgements.count() == 2 and not (broken.path / "README.md").exists()
    assert create_dataset(project=judged) == broken
    assert broken.judgements.count() == 5 and "5 judgements" in (broken.path / "README.md").read_text()
    assert [path.name for path in broken.path.parent.iterdir()] == [broken.path.name]


def test_what_a_killed_worker_left_goes(judged) -> None:
    first = create_dataset(project=judged)
    old, new = (first.path.parent / f".partial-{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
        (left / "train.jsonl").write_text("{}")
    os.utime(old, (1, 1))
    create_dataset(project=judged)
    assert not old.exists() and new.exists()


def test_export_preferences_prints_where_what_and_how_many(judged, tmp_path, capsys) -> None:
    copy = tmp_path / "copy.jsonl"
    call_command("export_preferences", project=judged.slug, output=copy)
    dataset = Dataset.objects.get()
    said = capsys.readouterr().out
    assert f"{dataset.path / 'train.jsonl'}: 3 triples, SHA-256 {dataset.train_sha256}" in said
    assert copy.read_bytes() == (dataset.path / "train.jsonl").read_bytes()


def test_export_preferences_says_in_words_what_gave_no_triple(judged, annotator, capsys) -> None:
    add_pairs(judged, train=2, heldout=0)
    judge_all(judged, annotator, lambda a, b: "tie")
    call_command("export_preferences", project=judged.slug)
    assert "without a triple: 2 ties" in capsys.readouterr().out


def test_export_preferences_without_judgements_says_so(project, var_dir) -> None:
    with pytest.raises(CommandError, match="Nothing has been judged yet"):
        call_command("export_preferences", project=project.slug)


def test_export_preferences_writes_any_format_to_a_file_or_to_the_standard_output(judged, tmp_path, capsys) -> None:
    for name in FORMATS:
        file = tmp_path / f"{name}.jsonl.gz"
        call_command("export_preferences", project=judged.slug, format=name, output=file)
        told = capsys.readouterr()
        assert f"rows of {name} written" in told.err
        call_command("export_preferences", project=judged.slug, format=name)
        assert gzip.decompress(file.read_bytes()).decode() == capsys.readouterr().out
    assert judged.datasets.count() == 0, "nothing is recorded"
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["llama-factory"]["file_name"] == "llama-factory.jsonl.gz"


def test_export_preferences_of_one_split(judged, capsys) -> None:
    def rows(split):
        call_command("export_preferences", project=judged.slug, format="judgements", split=split)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    train, heldout, both = rows("train"), rows("heldout"), rows(None)
    assert {row["split"] for row in train} == {"train"}
    assert len(train) + len(heldout) == len(both) == Judgement.objects.standing().count()
    names = {str(value) for user in User.objects.all() for value in (user.username, user.get_full_name())}
    assert not names & {row["annotator"] for row in both}
    with pytest.raises(CommandError, match="Name a --format"):
        call_command("export_preferences", project=judged.slug, split="train")
