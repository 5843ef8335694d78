"""The project's page, Train and the settings."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.models import Judgement, Project
from annotate.models.prompt import Split
from annotate.projects.guidelines import save_guidelines
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_project, make_prompt, make_version, posted_settings
from tests.training.rows import make_judgement, make_run, make_samples, make_trained
from training.datasets.previews import Preview
from training.forms import ProjectForm
from training.models import Generation, Run, RunEvent

URL, TRAIN, SETTINGS = "/projects/taste/", "/projects/taste/train/", "/projects/taste/settings/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny")


@pytest.fixture
def judged(project, annotator, base, tmp_path, monkeypatch):
    """Three pairs that would train, one held out, one tie; and a folder for datasets."""
    from django.conf import settings

    monkeypatch.setattr(settings, "VAR_DIR", tmp_path)
    monkeypatch.setattr(settings, "DATASETS_DIR", tmp_path / "datasets")
    monkeypatch.setattr(settings, "RUNS_DIR", tmp_path / "runs")
    for _ in range(3):
        make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), version=base)
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.HELDOUT), version=base)
    make_judgement(project, annotator, "tie", prompt=make_prompt(project, split=Split.TRAIN), version=base)


def page_of(client, user, url=URL, **headers) -> str:
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    answer = client.get(url, headers=headers)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


# -- the page ----------------------------------------------------------------------------------------------
def test_it_shows_the_loop_with_live_counts(client, owner, judged):
    page = page_of(client, owner)
    for words in ("1 tie or both bad", "1 held out", "v0 writes the next answers", "No triple from 1 tie."):
        assert words in page, words
    assert "<dt>would train</dt><dd>3</dd>" in page


def test_all_pages_count_the_waiting_pairs_alike_and_the_overview_accounts_for_all(client, owner, annotator, project, judged):
    for _ in range(3):
        make_comparison(project)
    make_comparison(project, state="retired")
    claim_comparison(project=project, annotator=annotator)
    overview = page_of(client, owner)
    assert "5 judged, 3 waiting, 1 retired" in overview and "3 pairs wait for judgement, 1 of them on somebody's screen" in (
        overview.replace("&#x27;", "'")
    )
    assert "5 judged, 3 waiting" in page_of(client, owner, "/")
    assert '<span data-progress="open">3</span> waiting' in page_of(client, annotator, "/projects/taste/compare/")


def test_the_counts_follow_a_judgement(client, owner, annotator, project, judged):
    page_of(client, owner)
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN))
    assert "<dt>would train</dt><dd>4</dd>" in page_of(client, owner)


def test_what_is_new_since_the_last_finished_run_is_counted(client, owner, annotator, project, base, judged):
    assert "new since" not in page_of(client, owner)
    before = make_run(project, base, state="running")
    before.dataset.judgements.set(Judgement.objects.filter(comparison__project=project))
    assert "new since" not in page_of(client, owner)
    Run.objects.update(state="done")
    assert "<dt>new since run 1</dt><dd>0</dd>" in page_of(client, owner)
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN))
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.HELDOUT))
    make_run(project, base, state="failed")
    assert "<dt>new since run 1</dt><dd>1</dd>" in page_of(client, owner)


@pytest.mark.parametrize(("train", "said"), [(0, False), (1, True), (29, True), (30, False)])
def test_few_triples_get_a_word_and_may_be_trained_on(train, said):
    assert bool(Preview(train=train, heldout=9, new=train, without={}).few) == said


def test_the_word_about_few_triples_stands_beside_the_counts(client, owner, judged):
    assert "30 are a good start" in page_of(client, owner)


def test_each_setting_says_what_the_presets_use(client, owner, judged):
    page = page_of(client, owner, TRAIN)
    for words in ("Paper 1 · Small 2", "Paper 1e-06 · Small 1e-05", "Paper 64 · Small 8", "Presets: 0"):
        assert words in page, words


def test_an_empty_project_says_what_to_do_first(client, owner):
    page = page_of(client, owner)
    assert "There are no prompts yet" in page and "import_prompts" in page
    assert re.search(r'<a href="/projects/[^/]+/data/">Open Data</a>', page)


def test_a_viewer_of_an_empty_project_gets_no_link_to_a_page_that_refuses_them(client, viewer):
    page = page_of(client, viewer)
    assert "There are no prompts yet" in page and "Open Data" not in page


def test_a_project_without_a_model_says_how_to_add_one(client, owner, project):
    make_prompt(project)
    assert "manage.py add_model" in page_of(client, owner)


def test_an_annotator_sees_their_own_work_and_no_version(client, annotator, project, judged):
    project.guidelines = "Prefer the *shorter*.\nSkip what you\ncannot judge."
    project.save()
    page = page_of(client, annotator)
    assert "Yours in all" in page and "<em>shorter</em>" in page
    assert "<br" not in page  # lines of a source file, as on the compare page
    for hidden in ("v0", "tiny", "Train", "/versions/", "/runs/"):
        assert hidden not in page, hidden


def test_a_viewer_sees_all_and_may_change_nothing(client, viewer, judged):
    page = page_of(client, viewer)
    assert "Owners and managers start runs." in page and "Settings" not in page and "Compare</a>" not in page


def test_a_stranger_finds_nothing(client, stranger, project):
    client.force_login(stranger, "django.contrib.auth.backends.ModelBackend")
    assert client.get(URL).status_code == 404
    assert client.post(TRAIN).status_code == 404
    assert client.get(SETTINGS).status_code == 404


def test_wrong_methods_are_refused(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    assert client.post(URL).status_code == 405
    assert client.delete(TRAIN).status_code == 405
    assert client.delete(SETTINGS).status_code == 405


# -- what happens now, in words -------------------------------------------------------------------------
def test_polling_goes_on_while_something_runs_and_stops_after(client, owner, project, base):
    for _ in range(project.queue_low):
        make_comparison(project, version=base)
    generation = Generation.objects.create(
        project=project, version=base, state="running", progress=6, total=24, heartbeat_at=timezone.now(),
        started_at=timezone.now() - timedelta(seconds=40),
        claimed_at=timezone.now() - timedelta(seconds=40),
    )  # fmt: skip
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.get(URL, headers=HTMX)
    assert answer.status_code == 200 and "6 of 24 pairs written by v0; about 2 min left." in answer.content.decode()
    assert "<html" not in answer.content.decode() and "HX-Request" in answer["Vary"]
    Generation.objects.filter(pk=generation.pk).update(state="done", finished_at=timezone.now(), progress=24)
    answer = client.get(URL, headers=HTMX)
    assert answer.status_code == 286 and "hx-trigger" not in answer.content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "failed", "error": "The disk is full. Free some space."}, "The disk is full. Free some space."),
        ({"state": "queued", "created_at": timezone.now() - timedelta(minutes=3)}, "has been waiting for"),
        ({"state": "running", "heartbeat_at": timezone.now() - timedelta(minutes=3)}, "worker has not been seen for"),
        ({"state": "done", "total": 8, "dropped_identical": 8, "finished_at": timezone.now()}, "gave no new pair"),
    ],
)
def test_a_generation_in_trouble_is_told_with_what_to_do(client, owner, project, base, fields, words):
    make_prompt(project)
    generation = Generation.objects.create(project=project, version=base)
    Generation.objects.filter(pk=generation.pk).update(**fields)
    assert words in page_of(client, owner)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "queued"}, 'The generation of v0 is dropped.</strong> <span class="in-lines">A worker ends it as soon'),
        (
            {"state": "running", "heartbeat_at": timezone.now() + timedelta(hours=9), "total": 9},
            "finishes the pairs in hand; then v1, which serves",
        ),
        ({"state": "failed", "error": "The disk is full."}, "v1 writes more. It begins within seconds."),
        ({"state": "done", "total": 9, "finished_at": timezone.now()}, "v1 writes more. It begins within seconds."),
    ],
)
def test_a_generation_of_a_version_that_no_longer_serves_contradicts_nothing(client, owner, project, base, fields, words):
    make_prompt(project)
    generation = Generation.objects.create(project=project, version=base)
    Generation.objects.filter(pk=generation.pk).update(**fields)
    project.promotions.create(version=make_version(project))
    page = page_of(client, owner)
    assert words in page
    for wrong in ("gave no new pair", "The disk is full.", "written by v0", "v0 writes"):
        assert wrong not in page, wrong


@pytest.mark.parametrize("low", [1, 16])
def test_when_every_prompt_has_its_pair_that_is_said_and_nothing_is_asked_for(client, owner, project, base, low):
    project.queue_low = low
    project.save()
    make_comparison(project, version=base)
    Generation.objects.create(project=project, version=base, state="failed", finished_at=timezone.now(), error="Too long.")
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.get(URL, headers=HTMX)
    page = answer.content.decode()
    assert answer.status_code == 286 and "More are written for new prompts, or when another version serves" in page
    assert ('Every prompt has its pair of v0.</strong> <span class="in-lines">1 pair waits' in page) == (low == 16)
    assert "notice-error" not in page and "v0 writes more" not in page
    make_prompt(project)
    assert "More are written for new prompts" not in client.get(URL, headers=HTMX).content.decode()


def test_a_generation_behind_other_work_waits_its_turn(client, owner, project, base):
    """Else somebody starts a second worker that nobody needs."""
    make_prompt(project)
    generation = Generation.objects.create(project=project, version=base)
    Generation.objects.filter(pk=generation.pk).update(created_at=timezone.now() - timedelta(minutes=3))
    elsewhere = make_project()
    Generation.objects.create(project=elsewhere, version=make_version(elsewhere), state="running", heartbeat_at=timezone.now())
    page = page_of(client, owner)
    assert "waits its turn" in page and "db_worker" not in page


def test_a_low_queue_without_a_clock_names_the_command(client, owner, project, base):
    prompt = make_prompt(project)
    long_ago = timezone.now() - timedelta(minutes=10)
    type(prompt).objects.update(created_at=long_ago)
    project.promotions.update(at=long_ago)
    assert "manage.py automate" in page_of(client, owner)


def test_a_failed_run_is_told_with_a_link(client, owner, project, base):
    make_prompt(project)
    make_run(project, base, state="failed", error="Out of memory. Take fewer pairs at once.")
    page = page_of(client, owner)
    assert "Out of memory. Take fewer pairs at once." in page and 'href="/projects/taste/runs/1/"' in page


def test_cautions_on_the_serving_versions_page_are_told(client, owner, project, base):
    make_prompt(project)
    serving = make_trained(project, base, metrics={"kept_in_float32": 0.1})
    project.promotions.create(version=serving)
    for job in (Generation.objects.create(version=serving, project=project), make_run(project, base)):  # no worker takes either
        type(job).objects.filter(pk=job.pk).update(state="queued", created_at=timezone.now() - timedelta(minutes=3))
    words = "v1 serves, and 1 caution stands on its page."
    assert words in page_of(client, owner) and 'href="/projects/taste/versions/1/">See v1</a>' in page_of(client, owner)
    RunEvent.objects.create(run=serving.run, line=1, kind="warning", data={"message": "9 of 20 pairs are too long."})
    serving.metrics |= {"described_at": "today"}
    serving.save()
    assert "2 cautions stand on its page" in page_of(client, owner)
    project.promotions.create(version=base)
    assert "on its page" not in page_of(client, owner)


@pytest.mark.parametrize("url", [URL, "/projects/taste/runs/", "/projects/taste/versions/", "/api/v1/projects/taste/versions/"])
def test_the_number_of_queries_does_not_grow(client, owner, project, base, url):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")

    def count() -> int:
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    version = make_trained(project, base)
    before = count()
    for _ in range(29):
        version = make_trained(project, version)
    make_samples(project, base, version)
    assert count() == before


# -- train -------------------------------------------------------------------------------------------------
def test_train_starts_a_run_and_shows_it(client, owner, project, judged):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(TRAIN, {"preset": "small", "beta": "0.2", "epochs": ""})
    assert answer.status_code == 302 and answer.url == "/projects/taste/runs/1/"
    run = Run.objects.get()
    assert run.settings == {"preset": "small", "overrides": {"beta": 0.2}} and run.started_by == owner
    assert run.dataset.train_count == 3


def test_train_with_another_loss_and_adapters(client, owner, project, judged):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    assert client.post(TRAIN, {"preset": "lora", "loss": "ipo", "nll_weight": "0.2", "lora_rank": "8"}).status_code == 302
    assert Run.objects.get().settings == {"preset": "lora", "overrides": {"loss": "ipo", "nll_weight": 0.2, "lora_rank": 8}}


def test_train_from_another_version(client, manager, project, judged, base):
    older = make_version(project)
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert client.post(TRAIN, {"preset": "paper", "parent": older.pk}).status_code == 302
    assert Run.objects.get().parent == older


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"preset": "huge"}, "huge is not one of the available choices"),
        ({"preset": "small", "beta": "much"}, "Enter a number."),
        ({"preset": "small", "beta": "0"}, "Must be above 0."),
        ({"preset": "small", "label_smoothing": "0.5"}, "Must be below 0.5."),
        ({"preset": "small", "loss": "dpo_tied"}, "not one of the available choices"),
        ({"preset": "small", "loss": "hinge", "label_smoothing": "0.1"}, "label_smoothing: the loss hinge does not take it."),
        ({"preset": "small", "batch_pairs": "0"}, "greater than or equal to 1"),
        ({"preset": "small", "learning_rate": "nan"}, "Enter a number."),
        ({"preset": "small", "parent": "999999"}, "not one of the available choices"),
    ],
)
def test_bad_settings_come_back_with_the_message_at_the_field(client, owner, judged, data, words):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(TRAIN, data)
    assert answer.status_code == 422 and words in answer.content.decode() and not Run.objects.exists()
    assert answer.content.decode().count("Nothing was started.") == 1
    if "beta" in data:
        assert f'value="{data["beta"]}"' in answer.content.decode()


def test_the_card_of_a_refused_run_says_why_at_its_top_and_the_first_wrong_field_has_the_focus(client, owner, judged):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    page = page_of(client, owner)
    assert "Nothing was started" not in page and "autofocus" not in page
    page = client.post(TRAIN, {"preset": "small", "beta": "0"}).content.decode()
    assert '<a href="#id_beta">β (pull to the reference)</a>: Must be above 0.' in page
    [focused] = re.findall(r"<[^>]*autofocus[^>]*>", page)
    assert 'id="id_beta"' in focused
    page = client.post(TRAIN, {"preset": "huge"}).content.decode()
    assert 'role="alert" tabindex="-1" autofocus' in page and page.count("autofocus") == 1


def test_a_version_of_another_project_is_no_parent(client, owner, judged):

    foreign = make_version(make_project())
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    assert client.post(TRAIN, {"preset": "small", "parent": foreign.pk}).status_code == 422


def test_nothing_to_train_on_is_said_on_the_page(client, owner, base):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(TRAIN, {"preset": "small"})
    assert answer.status_code == 422 and "Nothing has been judged yet." in answer.content.decode()


def test_viewer_and_annotator_cannot_train(client, viewer, annotator, judged):
    for user in (viewer, annotator):
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        assert client.post(TRAIN, {"preset": "small"}).status_code == 403
    assert not Run.objects.exists()


# -- settings ----------------------------------------------------------------------------------------------
def valid_settings(**changes) -> dict:
    """Of a page on which something in each group was touched, and “both bad” unticked."""
    touched = posted_settings(
        Project.objects.get(), name="Better taste", grades=6, judgements_required=2, temperature=0.8, queue_low=4, queue_high=8,
        preset="paper", promoting="by_hand", gold_share=10, evaluation_share=25, random_share=12.5,
    )  # fmt: skip
    return {name: value for name, value in touched.items() if name != "allows_both_bad"} | changes


def test_settings_are_kept(client, manager, project):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert client.get(SETTINGS).status_code == 200
    assert client.post(SETTINGS, valid_settings()).status_code == 302
    project.refresh_from_db()
    assert (project.name, project.allows_both_bad, project.promoting) == ("Better taste", False, "by_hand")
    assert project.grades == 6
    assert (project.preset, project.judgements_required, project.queue_low) == ("paper", 2, 4)
    assert (project.gold_share, project.evaluation_share, project.random_share) == (0.1, 0.25, 0.125)
    assert 'value="12.5"' in page_of(client, manager, SETTINGS)


def test_settings_that_somebody_else_has_changed_meanwhile_are_not_overwritten_unseen(client, owner, project):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    mine = posted_settings(project, name="Mine", flags="unsafe")
    Project.objects.update(name="Theirs")
    refused = client.post(SETTINGS, mine)
    page = refused.content.decode()
    assert refused.status_code == 422 and 'value="Mine"' in page and "different from what is stored now: Name, Flags." in page
    seen = re.search(r'name="seen" value="(\w+)"', page)
    assert seen and client.post(SETTINGS, mine | {"seen": seen[1]}).status_code == 302
    assert Project.objects.get().name == "Mine"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("judgements_required", 0), ("temperature", 0), ("temperature", 1e-320), ("temperature", "hot"),
        ("grades", 3), ("top_p", 1.5), ("queue_low", 9), ("preset", "huge"), ("consensus", "whatever"),
        ("max_new_tokens", 0), ("rationale", "always"),
        ("gold_share", 76), ("gold_share", "nan"), ("evaluation_share", 101), ("random_share", -1), ("random_share", ""),
        ("calibration_size", 201), ("calibration_bar", 101), ("judgements_at_most", 51),
    ],
)  # fmt: skip
def test_bad_settings_change_nothing_and_come_back(client, owner, project, field, value):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(SETTINGS, valid_settings(**{field: value}))
    page = answer.content.decode()
    assert answer.status_code == 422 and f'id="id_{field}_error"' in page and "Nothing was saved" in page
    project.refresh_from_db()
    assert project.name == "Taste"


def test_a_higher_number_of_judgements_opens_places_at_once(client, manager, project):
    comparison = make_comparison(project)
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    client.post(SETTINGS, valid_settings(judgements_required=3))
    comparison.refresh_from_db()
    assert (comparison.judgements_required, comparison.free_places) == (3, 3)


def test_two_managers_with_the_settings_open(client, owner, project):
    """Who saves second is told what differs from the first one's, keeps what they typed, and may save again."""
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    seen = re.compile('name="seen" value="([^"]+)"')
    opened = seen.search(client.get(SETTINGS).content.decode())[1]
    assert client.post(SETTINGS, valid_settings(lease_minutes=7, seen=opened)).status_code == 302
    answer = client.post(SETTINGS, valid_settings(lease_minutes=30, seen=opened))
    page = answer.content.decode()
    assert answer.status_code == 422 and "Minutes until an unanswered comparison goes back to the queue. Save again" in page
    project.refresh_from_db()
    assert project.lease_minutes == 7 and 'value="30"' in page
    assert client.post(SETTINGS, valid_settings(lease_minutes=30, seen=seen.search(page)[1])).status_code == 302
    project.refresh_from_db()
    assert project.lease_minutes == 30


def test_saving_settings_overwrites_nothing_else(client, owner, project, monkeypatch):
    """Guidelines that are saved while the form is being read are still there afterwards."""
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    clean = ProjectForm.clean

    def meanwhile(form):
        save_guidelines(project=make_project_again(project), text="New.", by=owner)
        return clean(form)

    monkeypatch.setattr(ProjectForm, "clean", meanwhile)
    assert client.post(SETTINGS, valid_settings()).status_code == 302
    project.refresh_from_db()
    assert project.guidelines == "New." and project.guidelines_edition.number == 1


def make_project_again(project):
    return type(project).objects.get(pk=project.pk)


def test_the_settings_speak_of_nothing_that_does_not_exist(client, owner):
    assert "automatic" not in page_of(client, owner, SETTINGS)


def test_only_managers_open_the_settings(client, viewer, annotator):
    for user in (viewer, annotator):
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        assert client.get(SETTINGS).status_code == 403 and client.post(SETTINGS, valid_settings()).status_code == 403
