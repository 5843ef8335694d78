"""Prompts come in once, whatever else is in the file."""

import io
import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.data import prompts
from annotate.data.prompts import import_prompts
from annotate.formats.rows import Unreadable, parse_json
from annotate.models import Project, Prompt
from annotate.models.prompt import Split, content_hash
from tests.builders import make_project


def jsonl(*rows) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def bring(project, *rows, **options):
    return import_prompts(project=project, stream=io.BytesIO(jsonl(*rows)), **options)


def test_a_prompt_as_it_is_stored(project):
    report = bring(project, {"prompt": "Q", "tags": ["t"], "id": "7"}, source="file.jsonl")
    assert (report.added, report.known, report.refused) == (1, 0, [])
    prompt = Prompt.objects.get()
    assert prompt.messages == [{"role": "user", "content": "Q"}]
    assert prompt.content_hash == content_hash(prompt.messages)
    assert prompt.split == Split.of(prompt.content_hash)
    assert (prompt.tags, prompt.source, prompt.project) == (["t"], "file.jsonl#7", project)


def test_the_same_again_adds_nothing(project):
    rows = [{"prompt": f"Q{n}"} for n in range(10)]
    assert bring(project, *rows, rows[3]).known == 1
    report = bring(project, *rows, {"question": "Q0"}, {"prompt": "new"})
    assert (report.added, report.known) == (1, 11)
    assert Prompt.objects.count() == 11
    assert bring(make_project(), *rows).added == 10


def test_the_system_message_of_rows_without_one(project):
    bring(project, {"prompt": "Q1"}, {"prompt": "Q2", "system": "Own."}, system="Be brief.")
    assert [prompt.messages[0] for prompt in Prompt.objects.order_by("pk")] == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Own."},
    ]


def test_a_fifth_is_held_out_by_hash_alone(project):
    report = bring(project, *({"prompt": f"Question {n}"} for n in range(1000)))
    assert 150 < report.heldout < 250
    assert Prompt.objects.heldout().count() == report.heldout
    again = make_project()
    bring(again, *({"prompt": f"Question {n}"} for n in reversed(range(1000))))
    heldout = [set(p.prompts.heldout().values_list("content_hash", flat=True)) for p in (project, again)]
    assert heldout[0] == heldout[1]


def test_bad_lines_do_not_stop_the_file(project):
    report = bring(project, "{", {"prompt": "Q"}, {"prompt": ""}, {"prompt": "R"})
    assert (report.added, report.refused_count) == (2, 2)
    assert [bad.line for bad in report.refused] == [1, 3]
    assert Prompt.objects.count() == 2


def test_refusals_do_not_pile_up(project, monkeypatch):
    monkeypatch.setattr(prompts, "KEPT_REFUSALS", 3)
    monkeypatch.setattr(prompts, "BATCH", 2)
    report = bring(project, *["{"] * 7)
    assert (len(report.refused), report.refused_count) == (3, 7)


def test_batches(project, monkeypatch):
    monkeypatch.setattr(prompts, "BATCH", 4)
    heard = []
    report = bring(project, *({"prompt": f"Q{n % 9}"} for n in range(10)), on_rows=heard.append)
    assert heard == [4, 4, 2]
    assert (report.added, report.known) == (9, 1)


def test_as_many_queries_for_thirty_as_for_one(project):
    def queries(*rows):
        with CaptureQueriesContext(connection) as captured:
            bring(project, *rows)
        return len(captured)

    assert queries({"prompt": "Q"}) == queries(*({"prompt": f"Q{n}"} for n in range(30)))


def test_another_import_of_the_same_at_the_same_moment(project, monkeypatch):
    bring(project, {"prompt": "Q"})
    nothing = Prompt.objects.none()
    monkeypatch.setattr(type(project), "prompts", type("Prompts", (), {"filter": lambda *_, **__: nothing}))
    bring(project, {"prompt": "Q"})
    assert Prompt.objects.count() == 1


# -- the command -------------------------------------------------------------------------------------------


def run(path, *arguments, **options):
    out, err = StringIO(), StringIO()
    call_command("import_prompts", str(path), *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(jsonl({"prompt": "Q", "id": 1}, "{", {"prompt": "R"}))
    return path


def test_the_command_sums_up(project, file):
    out, err = run(file, project="taste", system="Be brief.")
    assert out.startswith("2 prompts added")
    assert "1 line refused." in out
    assert err.startswith("some.jsonl line 2: Not JSON")
    assert Prompt.objects.first().source == "some.jsonl#1"
    assert Prompt.objects.first().messages[0]["role"] == "system"
    assert "0 prompts added (0 held out), 2 already known" in run(file, project="taste", system="Be brief.")[0]


def test_the_command_shows_twenty_bad_lines(project, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(jsonl(*["{"] * 25, {"prompt": "Q"}))
    _, err = run(path, project="taste")
    assert err.count("bad.jsonl line") == 20
    assert "5 more lines" in err


def test_the_command_can_create_the_project(db, file):
    with pytest.raises(CommandError, match="--create-project"):
        run(file, project="new")
    run(file, project="new", create_project="New one", owner="ola")
    assert Project.objects.get(slug="new").memberships.get(role="owner").user.username == "ola"
    assert Project.objects.get(slug="new").name == "New one"
    assert "2 already known" in run(file, project="new", create_project="Other")[0]
    assert Project.objects.get().name == "New one"
    with pytest.raises(CommandError, match="Cannot create"):
        run(file, project="not a slug", create_project="New", owner="ola")


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "The file is empty"),
        (b"{\n{", "Write one JSON object a line"),
        (b"\x89PNG\r\n\x1a\n", "Write one JSON object a line"),
    ],
)
def test_nothing_that_could_be_read_is_an_error(project, tmp_path, content, said):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=said):
        run(path, project="taste")


def test_a_file_that_is_not_there(project, tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(CommandError, match="Cannot read"):
            run(path, project="taste")


def test_the_demos_prompts_all_come_in(project, settings):
    out, err = run(settings.BASE_DIR / "annotate" / "demo" / "prompts.jsonl", project="taste")
    assert out.startswith("200 prompts added")
    assert err == ""


@pytest.mark.parametrize("line", [b'{"prompt": "a\x01b"}', b'{"prompt": "open', b'{"prompt": }'])
def test_what_is_not_json_is_told_with_its_place_once(line):
    with pytest.raises(Unreadable, match=r"Not JSON: .*[a-z] at character \d+\.") as error:
        parse_json(line)
    assert "at at" not in str(error.value)
