"""What goes out can be filtered as a dataset can, on the page, the command line and the API; a card says what it is."""

import io
import json
from datetime import timedelta

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from annotate.data.exports import FORMATS, count_preferences, export_preferences
from annotate.models import Comparison, Judgement
from annotate.models.prompt import Split
from tests.builders import make_comparison, make_completion, make_member, make_prompt, make_version
from tests.collecting.judged import judge
from tests.collecting.test_imports import bring, row
from training.datasets.cards import card_of_export
from training.datasets.filters import Filters
from training.datasets.snapshots import create_dataset

API = "/api/v1/projects/taste/"


@pytest.fixture
def judged(project, var_dir, manager):
    """Four pairs of v0 and two of v1 judged by anna, two of the latter by bert as well, and three that came in a file."""
    project.grades = 8
    project.judgements_required = 1
    project.save()
    anna, bert = make_member(project, "annotator", "anna"), make_member(project, "annotator", "bert")
    for number, version in enumerate([make_version(project), make_version(project, serving=True)]):
        for n in range(4 - 2 * number):
            prompt = make_prompt(project, split=Split.HELDOUT if n == 1 else Split.TRAIN)
            first, second = (make_completion(prompt, f"{side}{number}{n}", version=version) for side in "AB")
            comparison = make_comparison(project, prompt, first=first, second=second, judgements_required=1 + number)
            judge(comparison, anna, "first", strength=n + 1)
            if number:
                judge(comparison, bert, "first" if n else "second", strength=1)
    bring(project, row(1), row(2, outcome="tie"), row(3, strength=3))
    Comparison.objects.update(state="done")
    old = Judgement.objects.filter(annotator=bert)
    old.update(created_at=timezone.now() - timedelta(days=10))
    return project


def rows_of(project, format: str = "judgements", split: str = "", **given) -> list[dict]:
    stream = io.StringIO()
    wanted = Filters.read(given, project=project).wanted(project=project, split=split, start=project.versions.last())
    export_preferences(project=project, format=format, stream=stream, wanted=wanted)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


LONG_AGO, LATELY = timezone.localdate() - timedelta(days=9), timezone.localdate() - timedelta(days=1)
KEPT = [
    ({}, 11, 7),
    ({"people": ["anna"]}, 6, 6),
    ({"people": ["bert"]}, 2, 2),
    ({"since": str(LATELY)}, 9, 8),
    ({"until": str(LONG_AGO)}, 2, 2),
    ({"sources": ["i1"]}, 3, 2),
    ({"sources": ["generated"]}, 8, 5),
    ({"versions": ["v0"]}, 4, 4),
    ({"fresh": True}, 4, 1),
    ({"min_strength": 3}, 3, 3),
    ({"consensus": "every"}, 11, 10),
]


@pytest.mark.parametrize(("given", "judgements", "triples"), KEPT, ids=[str(given) for given, *_ in KEPT])
def test_each_filter_on_page_command_and_api(judged, client, manager, capsys, given, judgements, triples) -> None:
    client.force_login(manager)
    ids = {"people": [str(user.pk) for user in judged.members.all() if user.username in given.get("people", ())]}
    on_the_page = given | (ids if "people" in given else {}) | ({"versions": ["0"]} if "versions" in given else {})
    options = {**given, "people": given.get("people"), "sources": given.get("sources"), "versions": given.get("versions")}
    for format, count in (("judgements", judgements), ("trl", triples)):
        expected = rows_of(judged, format, **given)
        assert len(expected) == count
        page = client.get(reverse("data_export", args=["taste"]), on_the_page | {"format": format})
        assert [json.loads(line) for line in b"".join(page.streaming_content).splitlines()] == expected
        api = client.get(f"{API}export/", given | {"as": format})
        assert [json.loads(line) for line in b"".join(api.streaming_content).splitlines()] == expected
        capsys.readouterr()
        call_command("export_preferences", project="taste", format=format, **options)
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


def test_splits_and_filters_go_together(judged) -> None:
    both, train, heldout = (rows_of(judged, split=split, versions=["v0"]) for split in ("", "train", "heldout"))
    assert len(train) + len(heldout) == len(both) == 4 and len(heldout) == 1


def test_filters_that_make_no_sense_are_answered_with_what_there_is(judged, client, manager, capsys) -> None:
    client.force_login(manager)
    page = client.get(reverse("data_export", args=["taste"]), {"format": "trl", "since": "2026-02-02", "until": "2026-01-01"})
    assert page.status_code == 422 and "Before the first day" in page.content.decode()
    assert client.get(reverse("data_export_card", args=["taste"]), {"format": "trl", "licence": "a b"}).status_code == 422
    days = ({"since": "soon"}, {"until": "9999-12-31"})
    for wrong in ({"versions": "v9"}, {"people": "nobody"}, {"min_strength": "x"}, *days, {"sources": "\0"}):
        answer = client.get(f"{API}export/", wrong)
        assert answer.status_code == 400 and list(answer.json()["fields"]) == list(wrong), answer.content
    with pytest.raises(CommandError, match="no such version"):
        call_command("export_preferences", project="taste", format="trl", versions=["v9"])


@pytest.mark.parametrize("format", FORMATS)
def test_a_card_counts_what_the_file_holds(judged, client, manager, format) -> None:
    client.force_login(manager)
    asked = {"format": format, "licence": "CC-BY-4.0"}
    rows = b"".join(client.get(reverse("data_export", args=["taste"]), asked).streaming_content).decode()
    count = len(json.loads(rows)) if format == "label-studio" else len(rows.splitlines())
    answer = client.get(reverse("data_export_card", args=["taste"]), asked)
    card = answer.content.decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["size_categories"] == ["n<1K"] and head["pretty_name"] == f"Taste: {format}"
    (file,) = head["configs"][0]["data_files"]
    assert f'filename="{file["path"]}"' in client.get(reverse("data_export", args=["taste"]), asked)["Content-Disposition"]
    assert f"| train | {count:,} |" in card and "Krippendorff's alpha" in card and "Import 1, file.jsonl: 3 pairs" in card
    names = {"anna", "bert", "kim"}
    assert not names & set(card.lower().replace(".", " ").replace(",", " ").split())
    same = client.get(f"{API}export/card/", {"as": format, "licence": "cc-by-4.0"})
    assert same.content.decode() == card


def test_a_card_in_numbers(judged) -> None:
    filters = Filters.read({"people": ["anna"], "min_strength": 2}, project=judged)
    wanted = filters.wanted(project=judged)
    report = count_preferences(project=judged, format="judgements", wanted=wanted)
    card = card_of_export(project=judged, format="judgements", file_name="f", filters=filters, wanted=wanted, report=report)
    assert "| train | 4 |" in card and "| first is better | 4 |" in card and "| 3 |" in card
    assert "Least strength: 2 of 4" in card and "license: unknown" in card and "Not stated yet" in card


@pytest.mark.parametrize(("split", "said"), [("", "are among these rows"), ("train", ""), ("heldout", "The prompts of `test`")])
def test_a_card_says_where_the_held_out_prompts_are(judged, client, manager, split, said) -> None:
    client.force_login(manager)
    asked = {"format": "trl", "split": split}
    card = client.get(reverse("data_export_card", args=["taste"]), asked).content.decode()
    assert said in card and card.count("never trained anything") == bool(said)


def test_a_dataset_has_its_card_beside_it_and_a_file_too(judged, tmp_path, capsys) -> None:
    dataset = create_dataset(project=judged)
    card = (dataset.path / "README.md").read_text()
    assert f"| train | {dataset.train_count} |" in card and 'path: "train.jsonl"' in card
    call_command("export_preferences", project="taste", format="trl", output=tmp_path / "out.jsonl.gz", licence="mit")
    beside = (tmp_path / "out.card.md").read_text()
    assert "license: mit" in beside and '"out.jsonl.gz"' in beside
    assert f"{tmp_path / 'out.card.md'}: its card" in capsys.readouterr().err


def test_a_name_that_is_markdown_or_yaml_stays_a_name(judged) -> None:
    judged.name = 'Taste: "best" # [x](y)\n---\nlicense: mit'
    judged.save()
    card = (create_dataset(project=judged).path / "README.md").read_text()
    head = yaml.safe_load(card.split("\n---\n")[0])
    assert head["pretty_name"].startswith('Taste: "best" # [x](y)') and head["license"] == "unknown"
