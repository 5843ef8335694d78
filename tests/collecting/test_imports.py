"""Comparisons that others judged: in once, counted like any others, blind, and out again as a batch."""

import gzip
import io
import json
import uuid
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotate.consensus.triples import settle
from annotate.data.batches import Steps
from annotate.data.exports import export_preferences
from annotate.data.imports import import_preferences
from annotate.data.undoing import undo_import
from annotate.formats import files
from annotate.formats.registry import JUDGEMENT_WRITERS, TRIPLE_WRITERS, UnknownFormat
from annotate.judging.judgements import record_judgement
from annotate.models import Assignment, Comparison, Completion, Judgement, PreferenceImport, Prompt, User
from annotate.models.comparison import ComparisonState
from annotate.models.judgement import Outcome
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt
from tests.collecting.test_concurrency import at_once
from tests.collecting.test_preference_formats import DATA
from training.models import Dataset


def row(n: int = 1, **fields) -> dict:
    given = {"prompt": [{"role": "user", "content": f"Q{n}"}], "first": f"A{n}", "second": f"B{n}", "outcome": "first"}
    return given | {"annotator": "kim@example.org", "first_model": "left-model", "second_model": "right-model"} | fields


def stream_of(*rows) -> io.BytesIO:
    return io.BytesIO("\n".join(given if isinstance(given, str) else json.dumps(given) for given in rows).encode())


def bring(project, *rows, **options):
    return import_preferences(project=project, stream=stream_of(*rows), file_name="file.jsonl", **options)


def test_a_row_as_it_is_stored(project):
    report = bring(project, row(strength=3, seconds=4.5, rationale="why", left="second", judgement="x7"))
    batch = report.batch
    assert (batch.format, batch.judgements, batch.comparisons, batch.prompts, batch.known, batch.refused) == (
        "judgements",
        1,
        1,
        1,
        0,
        0,
    )
    judgement = Judgement.objects.select_related("comparison__first", "comparison__second", "assignment").get()
    comparison = judgement.comparison
    assert (comparison.first.text, comparison.first.model_name) == ("A1", "left-model")
    assert (comparison.second.text, comparison.second.model_name) == ("B1", "right-model")
    assert (comparison.state, comparison.judgements_required, comparison.free_places) == ("done", 1, 0)
    assert (comparison.source, comparison.batch, judgement.batch) == ("file.jsonl#x7", batch, batch)
    assert (judgement.outcome, judgement.strength, judgement.seconds, judgement.rationale) == ("first", 3, 4.5, "why")
    assert (judgement.assignment.swapped, judgement.assignment.grades) == (True, 6)
    assert comparison.prompt.batch == batch


def test_the_annotator_is_a_pseudonym_who_cannot_sign_in_and_is_no_member(project):
    bring(project, row(1), row(2), row(3, annotator="lee@example.org"))
    annotators = User.objects.filter(assignments__isnull=False).distinct()
    assert annotators.count() == 2
    for user in annotators:
        assert not user.is_active and not user.has_usable_password() and not user.projects.exists()
        assert "example" not in user.username + user.name


def test_the_same_again_adds_nothing_whichever_side_comes_first(project):
    bring(project, row(1), row(2, outcome="tie"))
    turned = row(1, first="B1", second="A1", first_model="right-model", second_model="left-model", outcome="second")
    report = bring(project, row(1), row(1), turned, row(2, outcome="tie"), row(3))
    assert (report.batch.judgements, report.batch.known, report.batch.refused) == (1, 4, 0)
    assert (Comparison.objects.count(), Judgement.objects.count(), Prompt.objects.count()) == (3, 3, 3)


def test_sides_the_other_way_round_are_the_same_comparison(project):
    turned = row(1, first="B1", second="A1", first_model="right-model", second_model="left-model", annotator="lee", left="first")
    for given in (turned, turned | {"annotator": "max", "outcome": "tie"}):
        bring(project, row(1), given)
    assert Comparison.objects.count() == 1
    assert list(Judgement.objects.order_by("pk").values_list("outcome", "assignment__swapped")) == [
        ("first", False), ("second", True), ("tie", True),
    ]  # fmt: skip


def test_one_annotator_has_one_answer_to_a_pair(project):
    report = bring(project, row(1), row(1, outcome="second"))
    assert report.batch.judgements == 1
    [bad] = report.refused
    assert bad.line == 2 and "judged the same pair otherwise" in bad.reason
    [bad] = bring(project, row(1, outcome="tie")).refused
    assert "first is better" in bad.reason


def test_equal_texts_of_different_models_are_different_comparisons(project):
    bring(project, row(1), row(1, second_model="third-model", outcome="second"))
    assert Comparison.objects.count() == 2


def test_bad_rows_are_refused_with_their_lines_and_the_rest_goes_in(project):
    heard = []
    rows = [row(1), "{nonsense", row(2, outcome="left"), row(3, prompt=[]), row(4)]
    report = bring(project, *rows, steps=Steps(on_refused=heard.append))
    assert [bad.line for bad in report.refused] == [bad.line for bad in heard] == [2, 3, 4]
    assert (report.batch.judgements, report.batch.refused) == (2, 3)
    tools = {"prompt": "Q", "chosen": "A", "rejected": "B", "tools": [{"name": "f"}]}
    [bad] = bring(project, tools).refused
    assert "tools" in bad.reason


def test_nothing_of_a_file_that_is_cut_off_goes_in(project):
    content = gzip.compress(b"\n".join(json.dumps(row(n)).encode() for n in range(2000)))
    for broken, error in ((content[:-100], files.FileBroken), (b'{"a": 1}', UnknownFormat)):
        with pytest.raises(error):
            import_preferences(project=project, stream=io.BytesIO(broken), file_name="f", format="")
    assert not PreferenceImport.objects.exists() and not Prompt.objects.exists()


def test_imported_judgements_become_triples(project):
    bring(project, row(1), row(2, outcome="second", strength=2), row(3, outcome="tie"), row(4, outcome="both_bad"))
    bring(project, row(4, annotator="lee"), row(2, annotator="lee", outcome="second", strength=4))
    settlement = settle(project=project)
    assert [(triple.chosen, triple.rejected, triple.strength) for triple in settlement.triples] == [
        ("A1", "B1", 1),
        ("B2", "A2", 3),
    ]
    assert (settlement.counts["tie"], settlement.counts["disagreement"], settlement.counts["incomplete"]) == (1, 1, 0)


def test_a_prompt_that_is_there_is_used_and_keeps_its_split(project):
    prompt = make_prompt(project, "Q1")
    other = "heldout" if prompt.split == "train" else "train"
    report = bring(project, row(1), row(2), split=other)
    assert report.batch.prompts == 1
    prompt.refresh_from_db()
    assert (prompt.split, prompt.batch, prompt.comparisons.count()) == (prompt.split, None, 1)
    assert Prompt.objects.exclude(pk=prompt.pk).get().split == other


def test_nobody_is_asked_about_an_imported_comparison(project, annotator):
    bring(project, row(1))
    assert claim_comparison(project=project, annotator=annotator) is None


def test_judged_again_by_people(project, annotator, client):
    project.judgements_required = 2
    project.save()
    bring(project, row(1), row(1, annotator="lee"), judge_again=True)
    comparison = Comparison.objects.get()
    assert (comparison.state, comparison.judgements_required, comparison.free_places) == ("open", 4, 2)
    bring(project, row(1, annotator="max"))  # one more imported judgement takes nobody's place
    comparison.refresh_from_db()
    assert (comparison.state, comparison.judgements_required, comparison.free_places) == ("open", 5, 2)
    assert settle(project=project).counts["incomplete"] == 1
    client.force_login(annotator)
    page = client.get(f"/projects/{project.slug}/compare/", follow=True).content.decode()
    assert "A1" in page
    assert not [word for word in ("left-model", "right-model", "file.jsonl", "imported") if word in page.lower()]
    lease = Assignment.objects.get(annotator=annotator)
    record_judgement(annotator=annotator, assignment_id=lease.pk, key=lease.pk, choice="a")
    comparison.refresh_from_db()
    assert (comparison.state, comparison.free_places) == ("open", 1)


# -- undoing -------------------------------------------------------------------------------------------------


def test_an_import_is_undone_as_if_it_had_never_been(project, annotator):
    own = make_prompt(project, "Q1")
    bring(project, row(7))
    before = [model.objects.count() for model in (Prompt, Completion, Comparison, Assignment, Judgement)]
    report = bring(project, *(row(n) for n in range(12)))
    undone = undo_import(batch=report.batch)
    assert (undone.judgements, undone.comparisons, undone.prompts, undone.kept, undone.withdrawn) == (11, 11, 10, 0, 0)
    assert [model.objects.count() for model in (Prompt, Completion, Comparison, Assignment, Judgement)] == before
    assert Prompt.objects.filter(pk=own.pk).exists()
    assert report.batch.undone_at
    assert undo_import(batch=report.batch).judgements == 0
    assert bring(project, *(row(n) for n in range(12))).batch.judgements == 11, "and in again"


def test_what_people_and_other_imports_added_stays(project, annotator):
    first = bring(project, row(1), row(2), row(3), judge_again=True).batch
    second = bring(project, row(1, annotator="lee")).batch
    lease = claim_comparison(project=project, annotator=annotator)
    record_judgement(annotator=annotator, assignment_id=lease.pk, key=lease.pk, choice="a")
    waiting = claim_comparison(project=project, annotator=annotator)
    report = undo_import(batch=first)
    assert (report.judgements, report.comparisons, report.kept) == (3, 1, 2)
    judged = Comparison.objects.get(pk=lease.comparison_id)
    assert (judged.state, judged.judgements_required, judged.free_places) == ("done", 2, 0)
    assert Judgement.objects.get(batch=second) and Judgement.objects.get(annotator=annotator)
    assert Comparison.objects.get(pk=waiting.comparison_id).state == ComparisonState.RETIRED
    record_judgement(annotator=annotator, assignment_id=waiting.pk, key=waiting.pk, choice="b")  # nobody's answer is lost
    assert Judgement.objects.filter(annotator=annotator).count() == 2


def test_what_a_dataset_names_is_withdrawn_and_comes_back_with_the_file(project):
    batch = bring(project, row(1), row(2)).batch
    dataset = Dataset.objects.create(
        project=project, number=1, directory="d1", train_sha256="0" * 64, heldout_sha256="0" * 64, train_count=1, heldout_count=0,
        counts={}, filters={},
    )  # fmt: skip
    dataset.judgements.add(Judgement.objects.order_by("pk").first())
    report = undo_import(batch=batch)
    assert (report.judgements, report.withdrawn, report.comparisons, report.kept) == (1, 1, 1, 1)
    assert dataset.judgements.count() == 1
    assert settle(project=project).triples == []
    assert bring(project, row(1), row(2)).batch.judgements == 2
    assert len(settle(project=project).triples) == 2


# -- at once -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_file_twice_at_once_goes_in_once(project):
    rows = [row(n) for n in range(120)]
    reports = at_once(*[partial(bring, project, *rows)] * 2)
    assert sum(report.batch.judgements for report in reports) == sum(report.batch.known for report in reports) == 120
    assert Comparison.objects.count() == Judgement.objects.count() == Prompt.objects.count() == 120
    assert {report.batch.number for report in reports} == {1, 2}


@pytest.mark.django_db(transaction=True)
def test_an_import_is_undone_while_people_judge_it(project):
    batch = bring(project, *(row(n) for n in range(40)), judge_again=True).batch
    people = [make_member(project, "annotator") for _ in range(3)]

    def judge(person) -> set[int]:
        accepted = set()
        while lease := claim_comparison(project=project, annotator=person):
            accepted.add(record_judgement(annotator=person, assignment_id=lease.pk, key=uuid.uuid4(), choice="a").pk)
        return accepted

    *accepted, _ = at_once(*(partial(judge, person) for person in people), partial(undo_import, batch=batch))
    stored = set(Judgement.objects.filter(annotator__in=people).values_list("pk", flat=True))
    assert stored == set().union(*accepted), "nothing that was accepted is lost"
    assert not Judgement.objects.filter(batch=batch).exists()
    assert Comparison.objects.count() == len(stored)


# -- there and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*JUDGEMENT_WRITERS, "trl", "openai", "hh", "ultrafeedback"])
def test_from_the_database_through_a_file_into_another_project(project, annotator, name):
    """Every outcome and strength, with both sides on the left: the same answers about the same texts."""
    project.grades = 8
    project.save()
    for number, (choice, strength, swapped) in enumerate(product(["a", "b", "tie", "both_bad"], [1, 2, 3, 4], [False, True])):
        prompt = make_prompt(project, f"Q{number}")
        make_comparison(
            project, prompt, first=make_completion(prompt, f"A{number}"), second=make_completion(prompt, f"B{number}")
        )
        lease = claim_comparison(project=project, annotator=annotator)
        Assignment.objects.filter(pk=lease.pk).update(swapped=swapped)
        record_judgement(annotator=annotator, assignment_id=lease.pk, key=lease.pk, choice=choice, strength=strength)
    text = io.StringIO()
    export_preferences(project=project, format=name, stream=text)
    other = make_project()
    batch = import_preferences(project=other, stream=io.BytesIO(text.getvalue().encode()), file_name="f").batch
    assert (batch.format, batch.refused) == (name, 0)

    def answers(of) -> set:
        """Who won over whom, how plainly; the two texts in one order where nobody did."""
        found = Judgement.objects.filter(comparison__project=of).select_related("comparison__first", "comparison__second")
        texts = [(each, each.comparison.first.text, each.comparison.second.text) for each in found]
        ordered = [
            (each, second, first) if each.outcome == Outcome.SECOND else (each, first, second) for each, first, second in texts
        ]
        return {
            ("won", one, two, each.strength) if each.strength else (each.outcome, *sorted((one, two)), 0)
            for each, one, two in ordered
        }

    expected = answers(project)
    assert len(expected) == 32
    if name in TRIPLE_WRITERS:
        expected = {answer for answer in expected if answer[0] == "won"}
    assert answers(other) == expected


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_imports_reports_and_undoes(project, tmp_path, capsys):
    file = tmp_path / "others.jsonl.gz"
    file.write_bytes(gzip.compress(stream_of(row(1), "{nonsense", row(2)).getvalue()))
    call_command("import_preferences", file, project=project.slug)
    told = capsys.readouterr()
    assert "judgements: 2 judgements added, with 2 new comparisons and 2 new prompts; 0 already known, 1 row refused." in told.out
    assert "line 2: Not JSON" in told.err
    [refused] = (tmp_path / "others.jsonl.gz.refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["line"] == 2
    assert "To undo it: manage.py import_preferences --project taste --undo 1" in told.out
    call_command("import_preferences", file, project=project.slug)
    assert capsys.readouterr().out == "judgements: nothing was added; 2 already known, 1 row refused.\n"
    call_command("import_preferences", project=project.slug, undo=1)
    assert "2 judgements, 2 comparisons and 2 prompts taken out" in capsys.readouterr().out


def test_the_command_maps_fields_and_says_what_is_wrong(project, tmp_path, capsys):
    file = tmp_path / "f.json"
    file.write_text(json.dumps([{"question": "Q", "better": "A", "worse": "B"}]))
    with pytest.raises(CommandError, match="The first row has: question, better, worse"):
        call_command("import_preferences", file, project=project.slug)
    call_command("import_preferences", file, project=project.slug, field=["prompt=question", "chosen=better", "rejected=worse"])
    assert "trl: 1 judgement added" in capsys.readouterr().out
    for options, reason in (
        ({"project": "none"}, "There is no project"),
        ({"project": project.slug, "undo": 9}, r"There is no import 9 .* There are: 1 \(f.json\)"),
        ({"project": project.slug}, "Name a file"),
        ({"project": project.slug, "field": ["x"], "file": file}, "write OURS=THEIRS"),
    ):
        given = [options.pop("file")] if "file" in options else []
        with pytest.raises(CommandError, match=reason):
            call_command("import_preferences", *given, **options)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real rows are not part of the project")
@pytest.mark.parametrize("name", ["hh_harmless_pairs", "alpaca_battles"])
def test_real_rows(project, name, tmp_path):
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as given:
        part = tmp_path / Path(f"{name}.jsonl")
        part.write_text("".join(line for line, _ in zip(given, range(1200), strict=False)))
    with part.open("rb") as stream:
        batch = import_preferences(project=project, stream=stream, file_name=part.name).batch
        assert batch.judgements + batch.known + batch.refused == 1200
        assert batch.judgements > 1150
        again = import_preferences(project=project, stream=stream, file_name=part.name).batch
    assert (again.judgements, again.known, again.refused) == (0, batch.judgements + batch.known, batch.refused)
    assert len(settle(project=project).triples) > 1000
    undo_import(batch=batch)
    assert not Prompt.objects.exists() and not Completion.objects.exists()
