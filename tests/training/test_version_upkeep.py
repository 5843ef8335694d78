"""Notes, aliases, archive, files deleted, download; the table; and from a version to the clicks and back."""

import io
import tarfile
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.builders import make_comparison, make_completion, make_project, make_prompt, make_version
from tests.training.rows import make_judgement, make_run, make_trained
from training.models import Version, VersionAlias
from training.runs.ordering import Order, RunRefused, plan_run
from training.versions import provenance
from training.versions.lineage import drawn_versions, lineage_of
from training.versions.registry import serving_version
from training.versions.upkeep import UpkeepRefused, remove_files, request_removal

VERSIONS = "/projects/taste/versions/"


@pytest.fixture
def base(project, var_dir):
    return with_files(make_version(project, serving=True, name="tiny", directory="models/tiny"))


def with_files(version: Version) -> Version:
    version.path.mkdir(parents=True, exist_ok=True)
    (version.path / "model.safetensors").write_bytes(b"w" * 700)
    (version.path / "README.md").write_text("A model.")
    (version.path / ".secret").write_text("no")
    (version.path / "runs").mkdir(exist_ok=True)
    (version.path / "runs" / "events").write_bytes(b"e" * 512)
    return version


@pytest.fixture
def trained(project, base):
    return with_files(make_trained(project, base, directory="runs/r1/model"))


@pytest.fixture
def as_manager(client, manager):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    return client


def said(client, number: int, what: str, **data) -> str:
    return client.post(f"{VERSIONS}{number}/{what}/", data, follow=True).content.decode()


# -- notes, tags, aliases ----------------------------------------------------------------------------------
def test_notes_and_tags_are_kept_and_shown(as_manager, client, viewer, trained):
    assert "Saved." in said(
        as_manager, 1, "describe", notes="Better at <b>maths</b>.\r\nWorse at jokes.", tags=" maths, short ,maths,"
    )
    trained.refresh_from_db()
    assert trained.notes == "Better at <b>maths</b>.\nWorse at jokes." and trained.tags == ["maths", "short"]
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    page = client.get(VERSIONS + "1/").content.decode()
    assert "&lt;b&gt;maths" in page and '<span class="badge">short</span>' in page
    assert "<textarea" not in page


@pytest.mark.parametrize(
    ("data", "words"),
    [({"notes": "x" * 20_001}, "Shorten them"), ({"notes": "a\0b"}, "NUL"), ({"tags": "t" * 41}, "at most 20 tags")],
)
def test_what_cannot_be_noted_is_said(as_manager, trained, data, words):
    assert words in said(as_manager, 1, "describe", **data)


def test_an_alias_moves_and_serving_is_protected(as_manager, project, base, trained):
    said(as_manager, 0, "alias", name="Best")
    said(as_manager, 1, "alias", name="best")
    assert VersionAlias.objects.get().version == trained
    assert "Use “Make it serve”" in said(as_manager, 1, "alias", name="serving").replace("&#x27;", "'")
    assert "An alias has 1 to 40 characters" in said(as_manager, 1, "alias", name="the best!")
    said(as_manager, 1, "alias", drop="best")
    assert not VersionAlias.objects.exists()


# -- archive, delete, download -----------------------------------------------------------------------------
def test_archived_ones_are_out_of_the_table_and_come_back(as_manager, trained):
    said(as_manager, 1, "archive")
    assert "archived" not in (page := as_manager.get(VERSIONS).content.decode()).split("<table")[1]
    assert "Archived too (1)" in page and 'archived">' not in page.split("<table")[1]
    assert ">archived<" in as_manager.get(VERSIONS, {"archived": "1"}).content.decode()
    said(as_manager, 1, "archive", back="1")
    trained.refresh_from_db()
    assert trained.archived_at is None


def test_an_archived_one_that_is_made_to_serve_is_in_the_table_again(as_manager, project, trained):
    said(as_manager, 1, "archive")
    said(as_manager, 1, "promote")
    trained.refresh_from_db()
    assert serving_version(project) == trained and trained.archived_at is None


def test_the_serving_one_and_an_ancestor_are_never_deleted(as_manager, project, base, trained):
    assert "v0 serves" in said(as_manager, 0, "archive") and "v0 serves" in said(as_manager, 0, "remove")
    project.promotions.create(version=trained)
    assert "ancestor" in said(as_manager, 0, "remove").replace("&#x27;", "'")
    base.refresh_from_db()
    assert base.removal_asked_at is None and (base.path / "model.safetensors").exists()


def test_one_that_a_run_needs_stays(project, base, trained):
    make_run(project, trained, state="queued")
    with pytest.raises(UpkeepRefused, match="Run 2 starts from it"):
        request_removal(version=trained)


def test_files_are_deleted_by_a_worker_and_the_row_stays(as_manager, project, base, trained):
    from django_tasks_db.models import DBTaskResult

    said(as_manager, 1, "remove")
    assert trained.path.exists() and DBTaskResult.objects.get().task_path == "training.tasks.remove_files"
    remove_files(version_id=trained.pk)
    remove_files(version_id=trained.pk)
    trained.refresh_from_db()
    assert not trained.path.exists() and trained.removed_at and trained.archived_at
    page = as_manager.get(VERSIONS + "1/").content.decode()
    assert "files deleted" in page and "Make it serve</button>" not in page
    assert "cannot serve" in said(as_manager, 1, "promote") and as_manager.get(VERSIONS + "1/download/").status_code == 302
    with pytest.raises(RunRefused, match="files of v1 have been deleted"):
        plan_run(project=project, order=Order(parent=trained))


@pytest.mark.parametrize("state", ["FAILED", "RUNNING"], ids=["the task failed", "its worker was killed"])
def test_a_removal_that_came_to_nothing_is_asked_for_again(as_manager, project, base, trained, state):
    from django_tasks_db.models import DBTaskResult

    said(as_manager, 1, "remove")
    assert "as soon as it is free" in said(as_manager, 1, "remove") and DBTaskResult.objects.count() == 1
    DBTaskResult.objects.update(status=state, started_at=timezone.now() - timedelta(hours=1))
    page = as_manager.get(VERSIONS + "1/").content.decode()
    assert "has failed or was ended" in page and "Delete its files</button>" in page
    said(as_manager, 1, "remove")
    assert DBTaskResult.objects.filter(status="READY").count() == 1
    remove_files(version_id=trained.pk)
    assert not trained.path.exists() and "deleted already" in said(as_manager, 1, "remove")


def test_one_whose_files_are_deleted_never_serves(as_manager, project, base, trained):
    """Else nothing is generated any more, until somebody promotes another one."""
    request_removal(version=trained)
    refused = as_manager.post("/api/v1/projects/taste/versions/1/promote/", {}, content_type="application/json")
    assert refused.status_code == 409 and "cannot serve" in refused.json()["message"]
    assert serving_version(project) == base


def test_files_that_another_project_uses_stay(project, base, trained):
    make_version(make_project(), directory=trained.directory)
    request_removal(version=trained)
    remove_files(version_id=trained.pk)
    assert trained.path.exists() and Version.objects.get(pk=trained.pk).removed_at


def test_the_download_is_a_tar_of_the_directory(as_manager, trained):
    answer = as_manager.get(VERSIONS + "1/download/")
    assert answer["Content-Disposition"] == 'attachment; filename="taste-v1.tar"'
    with tarfile.open(fileobj=io.BytesIO(b"".join(answer.streaming_content))) as tar:
        assert tar.getnames() == ["taste-v1/README.md", "taste-v1/model.safetensors", "taste-v1/runs/events"]
        assert tar.extractfile("taste-v1/model.safetensors").read() == b"w" * 700


# -- the table and the picture -----------------------------------------------------------------------------
def test_the_table_is_sorted_and_filtered(as_manager, project, base):
    for accuracy, tag in ((0.6, "maths"), (None, ""), (0.9, "")):
        metrics = {} if accuracy is None else {"heldout_accuracy": accuracy}
        make_trained(project, base, metrics=metrics, tags=[tag] if tag else [], name=f"run of {accuracy}")

    def order(**asked) -> list[str]:
        rows = as_manager.get(VERSIONS, asked).content.decode().split("<tbody>")[1].split("</tbody>")[0].split('scope="row">')[1:]
        return [row.split("versions/")[1].split("/")[0] for row in rows]

    assert order() == ["3", "2", "1", "0"]
    assert order(sort="-accuracy")[:2] == ["3", "1"] and order(sort="accuracy")[:2] == ["1", "3"]
    assert order(q="maths") == ["1"] and order(q="v2") == ["2"] and order(sort="nonsense", page="x") == ["3", "2", "1", "0"]
    assert "Nothing is called “nobody”" in as_manager.get(VERSIONS, {"q": "nobody"}).content.decode()
    assert as_manager.get(VERSIONS, {"q": "\0"}).status_code == 200


def test_branches_share_lines_where_they_do_not_meet(project):
    """0─1─2─3 with 4 from 0, and 5 from 2: 4 ends before 5 begins, so both are on the second line."""
    chain = [make_version(project)]
    for parent in (0, 1, 2, 0, 2):
        chain.append(make_version(project, parent=chain[parent]))
    picture = lineage_of(drawn_versions(project), serving=chain[3])
    lines = {node.version.number: node.y for node in picture.nodes}
    assert lines[0] == lines[1] == lines[2] == lines[3] < lines[4] == lines[5]
    assert len({(node.x, node.y) for node in picture.nodes}) == 6 and len(picture.curves) == 5


def test_two_hundred_versions_have_places_of_their_own(project):
    made = [make_version(project)]
    for number in range(1, 200):
        made.append(make_version(project, parent=made[number - 1 if number % 10 else number // 2]))
    picture = lineage_of(drawn_versions(project), serving=None)
    assert len({(node.x, node.y) for node in picture.nodes}) == 200 and picture.height < 1500


# -- from a version to the clicks and back -----------------------------------------------------------------
@pytest.fixture
def clicks(project, annotator, base, trained):
    made = [make_judgement(project, annotator, version=base) for _ in range(45)]
    trained.run.dataset.judgements.set(made)
    return made


def test_a_versions_judgements_come_in_pages_of_flat_cost(as_manager, trained, clicks, project, annotator, base):
    def count(**asked) -> tuple[int, str]:
        with CaptureQueriesContext(connection) as queries:
            page = as_manager.get(VERSIONS + "1/judgements/", asked).content.decode()
        return len(queries), page

    number, page = count()
    assert page.count("/judged/") == 40 and "anna" in page
    older = page.split("?before=")[1].split('"')[0]
    again, rest = count(before=older)
    assert again == number and rest.count("/judged/") == 5 and "Older" not in rest
    assert as_manager.get(VERSIONS + "1/judgements/", {"before": "x" * 99}).status_code == 200
    assert as_manager.get(VERSIONS + "0/judgements/").status_code == 302


def test_a_version_leads_to_the_judgements_of_what_it_wrote(
    as_manager, client, viewer, project, annotator, base, trained, monkeypatch
):
    """Of a base model, too; on whichever side its answer stands."""
    mine, other = make_prompt(project), make_prompt(project)
    first, second = make_completion(mine, "It is blue.", version=base), make_completion(mine, "It is red.", version=trained)
    judged = make_judgement(project, annotator, prompt=mine, first=first, second=second)
    make_judgement(project, annotator, prompt=other, version=trained)
    make_comparison(project, make_prompt(project), version=base)
    page = as_manager.get(VERSIONS + "0/").content.decode()
    assert "answers of 2 pairs, 1 of them judged" in page
    monkeypatch.setattr(provenance, "MOST_COUNTED", 1)
    page = as_manager.get(VERSIONS + "0/").content.decode()
    assert "answers of more than 1 pair." in page and "?of=answers" in page
    page = as_manager.get(VERSIONS + "0/judgements/", {"of": "answers"}).content.decode()
    assert page.count("/judged/") == 1 and f"/judged/{judged.comparison_id}/" in page
    assert page.count('data-label="By:"') == page.count('data-label="When:"') == 1  # on a phone the cells stand below each other
    page = as_manager.get(VERSIONS + "1/judgements/", {"of": "answers"}).content.decode()
    assert page.count("/judged/") == 2 and "anna" in page
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    page = client.get(VERSIONS + "1/judgements/", {"of": "answers"}).content.decode()
    assert "anna" not in page and "annotator " in page and "/judged/" not in page


def test_a_viewer_sees_pseudonyms(client, viewer, trained, clicks):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    for url in (VERSIONS + "1/", VERSIONS + "1/judgements/"):
        page = client.get(url).content.decode()
        assert "anna" not in page and "annotator " in page and "/judged/" not in page


def test_a_click_knows_the_versions_it_helped_to_train(as_manager, project, base, trained, clicks):
    second = make_trained(project, trained)
    second.run.dataset.judgements.set(clicks[:1])
    page = as_manager.get(f"/projects/taste/judged/{clicks[0].comparison_id}/").content.decode()
    assert 'versions/1/">v1</a>' in page and 'versions/2/">v2</a>' in page and "anna" in page
    page = as_manager.get(f"/projects/taste/judged/{clicks[1].comparison_id}/").content.decode()
    assert 'versions/1/">v1</a>' in page and 'versions/2/">v2</a>' not in page


def test_a_comparison_of_another_project_is_not_there(as_manager, annotator):
    foreign = make_judgement(make_project(), annotator)
    assert as_manager.get(f"/projects/taste/judged/{foreign.comparison_id}/").status_code == 404
    assert as_manager.get(f"/projects/taste/judged/{10**19}/").status_code == 404
