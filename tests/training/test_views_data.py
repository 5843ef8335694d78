"""The data page: upload, a look at the first rows, import, report, undo, export."""

import gzip
import json
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.data.exports import FORMATS
from annotate.data.imports import import_preferences
from annotate.data.uploads import find_upload, keep_upload
from annotate.models import Comparison, Judgement, PreferenceImport
from tests.builders import make_project
from tests.collecting.test_imports import row, stream_of


@pytest.fixture(autouse=True)
def var_dir(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    return tmp_path


@pytest.fixture
def page(client, manager, project):
    client.force_login(manager)
    return lambda name, *args: reverse(name, args=[project.slug, *args])


def upload(client, page, content: bytes, name: str = "others.jsonl"):
    return client.post(page("data_upload"), {"file": SimpleUploadedFile(name, content)})


def test_a_file_goes_in_through_the_browser_and_out_again(client, page, project):
    content = gzip.compress(stream_of(row(1), "{nonsense", row(2, outcome="tie")).getvalue())
    answer = upload(client, page, content, "others.jsonl.gz")
    assert answer.status_code == 302
    preview = client.get(answer.url)
    text = preview.content.decode()
    assert "Format: <strong>judgements</strong>" in text and "A1" in text and "left-model" in text and "Not JSON" in text
    assert not Judgement.objects.exists()
    fields = {name: preview.context["form"][name].value() or "" for name in ("upload", "split")}
    answer = client.post(page("data_import"), fields | {"format": "judgements"}, follow=True)
    text = answer.content.decode()
    assert "2 judgements of 2 new comparisons added" in text and "1 row refused" in text
    batch = PreferenceImport.objects.get()
    assert (batch.judgements, batch.refused, batch.by.username) == (2, 1, "marek")
    report = b"".join(client.get(page("data_refused", 1)).streaming_content)
    assert json.loads(report)["line"] == 2
    answer = client.post(page("data_undo", 1), follow=True)
    assert "2 judgements, 2 comparisons and 2 prompts taken out" in answer.content.decode()
    assert not Comparison.objects.exists()
    assert client.post(page("data_import"), fields).url == page("data"), "the upload is gone after its import"


def test_fields_that_are_called_otherwise_are_mapped(client, page):
    answer = upload(client, page, b'{"question": "Q", "better": "A", "worse": "B"}')
    text = client.get(answer.url).content.decode()
    assert "The first row has: question, better, worse" in text and "Import it" not in text
    names = {"field-prompt": "question", "field-chosen": "better", "field-rejected": "worse", "field-margin": ""}
    looked = client.get(answer.url, names | {"upload": answer.url.partition("upload=")[2]})
    assert "Format: <strong>trl</strong>" in looked.content.decode()
    given = names | {"upload": looked.context["upload"].id, "format": "trl"}
    assert "1 judgement of 1 new comparison" in client.post(page("data_import"), given, follow=True).content.decode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"plain text", "None of the first"), (gzip.compress(b"x" * 5000)[:-9], "cut off"), (b"\n", "None of the first")],
    ids=["text", "gzip", "empty"],
)
def test_a_file_that_cannot_be_read_says_why(client, page, content, reason):
    answer = upload(client, page, content)
    looked = client.get(answer.url)
    assert looked.status_code == 200 and reason in looked.content.decode()
    refused = client.post(page("data_import"), {"upload": looked.context["upload"].id})
    assert refused.status_code == 422 and reason in refused.content.decode()
    assert not PreferenceImport.objects.exists()


def test_what_is_wrong_with_the_form_is_said(client, page, settings):
    assert client.post(page("data_upload"), {}).status_code == 422
    settings.LARGEST_UPLOAD_MB = 0
    answer = upload(client, page, b"12345")
    assert answer.status_code == 422 and "larger than 0 MB" in answer.content.decode()
    assert client.get(page("data_export"), {"format": "unknown"}).status_code == 422
    for given in ({}, {"upload": "x"}, {"upload": "00000000-0000-0000-0000-000000000000"}):
        assert client.get(page("data_import"), given).url == page("data")
    assert client.get(page("data_refused", 7)).status_code == 404


def test_an_upload_belongs_to_its_project_and_names_no_path(project, var_dir):
    kept = keep_upload(project=project, file=SimpleUploadedFile("../../etc/passwd", b"x"))
    assert kept.path.parent == var_dir / "uploads" / str(project.pk)
    assert find_upload(project=project, id=kept.id) == kept
    assert find_upload(project=make_project(), id=kept.id) is None


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_downloads(client, page, project, format):
    import_preferences(project=project, stream=stream_of(*(row(n) for n in range(250))), file_name="f")
    answer = client.get(page("data_export"), {"format": format, "split": ""})
    content = b"".join(answer.streaming_content)
    assert f'filename="taste-{format}.json' in answer["Content-Disposition"]
    count = len(json.loads(content)) if format == "label-studio" else content.count(b"\n")
    assert count == (500 if format == "trl-kto" else 250)
    train = b"".join(client.get(page("data_export"), {"format": format, "split": "train"}).streaming_content)
    assert 0 < len(train) < len(content)
    if format != "llama-factory":
        again = import_preferences(project=make_project(), stream=BytesIO(content), file_name="f").batch
        assert (again.format, again.judgements) == (format, 250)


def test_a_download_in_which_nothing_would_be_says_why(client, page, project):
    nothing = client.get(page("data_export"), {"format": "hh", "split": ""})
    assert nothing.status_code == 422 and "Nothing would be in the file." in nothing.content.decode()
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}]
    import_preferences(project=project, stream=stream_of(row(prompt=prompt)), file_name="f")
    left_out = client.get(page("data_export"), {"format": "hh", "split": ""})
    assert left_out.status_code == 422 and "1 left out: HH transcripts have no system message." in left_out.content.decode()


def test_the_list_takes_the_same_queries_for_one_import_and_for_thirty(client, page, project, manager):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(page("data")).status_code == 200
        return len(seen)

    project.imports.create(number=1, file_name="f", format="trl", by=manager, refused=2)
    one = queries()
    for number in range(2, 31):
        project.imports.create(number=number, file_name="f", format="trl", by=manager, refused=2)
    assert queries() == one


def test_imported_judgements_disturb_no_page(client, page, project, annotator):
    import_preferences(
        project=project, stream=stream_of(row(1), row(1, annotator="lee"), row(2)), file_name="f", judge_again=True
    )
    for name in ("project", "quality", "members", "versions", "runs", "compare", "data"):
        assert client.get(page(name)).status_code == 200, name


def test_prompts_go_in_through_the_browser(client, page, project):
    def send(content: bytes, **fields):
        given = {"prompts": SimpleUploadedFile("prompts.csv", content)} | fields
        return client.post(page("data_prompts"), given, follow=True)

    text = send(b"id,prompt\n1,One?\n2,\n3,Three?", system="Be brief.").content.decode()
    assert "2 prompts added" in text and "1 line could not be used" in text and "prompt is empty" in text
    assert project.prompts.first().messages[0] == {"role": "system", "content": "Be brief."}
    assert project.prompts.first().source == "prompts.csv#1"
    assert "0 prompts added (0 held out), 2 already known" in send(b"One?\nThree?", system="Be brief.").content.decode()
    broken = send(gzip.compress(b"One?" * 900)[:-9])
    assert broken.status_code == 422 and "cut off" in broken.content.decode()
    blank = send(b"\xef\xbb\xbf\n")
    assert blank.status_code == 422 and "There is no row in the file" in blank.content.decode()
    assert client.post(page("data_prompts"), {}).status_code == 422
