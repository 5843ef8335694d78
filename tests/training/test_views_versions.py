"""The pages of versions: figures, lineage, samples, and which one serves."""

import pytest

from tests.builders import make_comparison, make_completion, make_project, make_prompt, make_version
from tests.training.rows import make_samples, make_trained
from training.models import Promotion, RunEvent
from training.versions.before_and_after import samples_of
from training.versions.lineage import lineage_of
from training.versions.registry import serving_version

LIST, URL = "/projects/taste/versions/", "/projects/taste/versions/1/"


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny", metrics={"mean_tokens": 88.0, "ended_share": 0.8})


@pytest.fixture
def trained(project, base):
    metrics = {"heldout_accuracy": 0.78, "heldout_margin": 0.91, "mean_tokens": 70.0, "ended_share": 0.84}
    return make_trained(project, base, metrics=metrics, parameters=134_515_008, size_bytes=538_000_000)


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    return client


def test_the_list_shows_figures_the_serving_one_and_lineage(as_owner, trained):
    page = as_owner.get(LIST).content.decode()
    for words in ("78 %,</span>", "45–94 %", "70 <", "84 %", "serving", 'aria-label="v1, from v0, by run 1', "Make v1 serve"):
        assert words in page, words
    assert "Make v0 serve" not in page and "KL from the base" not in page


def test_kl_is_shown_with_its_interval_once_it_is_known(as_owner, project, base):
    make_trained(project, base, metrics={"kl": 3.21, "kl_error": 0.5})
    for url in (LIST, URL):
        page = as_owner.get(url).content.decode()
        assert "KL from the base" in page and "3.21" in page and "± 0.98" in page


def test_no_version_yet(as_owner, project):
    assert "No model yet" in as_owner.get(LIST).content.decode()


def test_the_page_shows_where_it_comes_from(as_owner, trained):
    page = as_owner.get(URL).content.decode()
    words = ("run 1", "45–94 %", "38 triples, 9 held out", "135 M", "513.1", "from_pretrained", "No samples yet", "Never yet.")
    for word in words:
        assert word in page, word
    assert "notice-warn" not in page


def test_a_base_version_has_a_page(as_owner, base):
    page = as_owner.get(LIST + "0/").content.decode()
    assert "none: a base model" in page and "Before and after" not in page


# -- samples -----------------------------------------------------------------------------------------------
def test_samples_stand_side_by_side_with_differences_marked(as_owner, project, base, trained):
    make_samples(project, base, trained)
    page = as_owner.get(URL).content.decode()
    assert page.count('<article class="card sample">') == 2
    assert "<del>, give or take</del>" in page
    assert "How long is piece 0 of string?" in page


def test_samples_and_figures_come_by_themselves_and_then_nothing_is_asked_any_more(as_owner, project, base):
    base.metrics |= {"described_at": "today"}
    base.save()
    version = make_trained(project, base)
    page = as_owner.get(URL).content.decode()
    assert 'hx-get="/projects/taste/versions/1/" hx-trigger="every' in page and page.count("being measured") == 2
    assert "– tokens" not in page and "reload" not in page and page.count('class="length-bar"') == 1
    answer = as_owner.get(URL, headers={"HX-Request": "true"})
    assert answer.status_code == 200 and "HX-Request" in answer["Vary"] and "<html" not in answer.content.decode()
    make_samples(project, base, version)
    version.metrics = {"described_at": "today", "mean_tokens": 61.0, "ended_share": 0.75}
    version.save()
    answer = as_owner.get(URL, headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert answer.status_code == 286 and "hx-get" not in page
    assert "61.0" in page and "75 %" in page and page.count('<article class="card sample">') == 2


def test_a_description_that_was_given_up_is_no_longer_waited_for(as_owner, project, base, monkeypatch):
    make_trained(project, base, metrics={})
    assert "hx-get" in as_owner.get(URL).content.decode()
    monkeypatch.setattr("training.views.versions.description_is_given_up", lambda version: True)
    page = as_owner.get(URL).content.decode()
    assert "hx-get" not in page and "Measuring it has failed" in page


def test_the_list_shows_no_empty_bar_for_what_is_not_measured(as_owner, project, base):
    make_trained(project, base)
    page = as_owner.get(LIST).content.decode()
    assert "being measured" in page and page.count('class="length-bar"') == 1 and "KL" not in page and "±" not in page


def test_samples_are_escaped(as_owner, project, base, trained):
    prompt = make_prompt(project, "<script>alert(1)</script>", split="heldout")
    make_completion(prompt, "<img src=x onerror=alert(2)>", base, temperature=0)
    make_completion(prompt, "<img src=x onerror=alert(3)>", trained, temperature=0)
    page = as_owner.get(URL).content.decode()
    assert "<script>alert" not in page and "<img src=x" not in page and "&lt;img" in page


def test_only_greedy_answers_to_heldout_prompts_that_both_gave_are_samples(project, base, trained):
    asked = make_prompt(project, split="heldout")
    make_completion(asked, "One.", base, temperature=0)
    make_completion(asked, "Two.", base, temperature=1)
    make_completion(asked, "Three.", trained, temperature=1)
    learnt = make_prompt(project, split="train")
    make_completion(learnt, "Four.", base, temperature=0)
    make_completion(learnt, "Five.", trained, temperature=0)
    assert samples_of(trained, before=base) == []


def test_marks_put_together_give_the_texts_back(project, base, trained):
    make_samples(project, base, trained, count=1)
    (sample,) = samples_of(trained, before=base)
    assert "".join(part.text for part in sample.before_parts) == sample.before.text
    assert "".join(part.text for part in sample.after_parts) == sample.after.text
    assert [part.text for part in sample.before_parts if part.differs] == [" about", ", give or take"]


# -- cautions: over-optimisation must be visible ------------------------------------------------------------
@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"mean_tokens": 12.0}, "Its answers are much shorter"),
        ({"mean_tokens": 12.0}, "12 tokens on average, against 88 of v0 (86 % fewer)"),
        ({"mean_tokens": 200.0}, "Its answers are much longer"),
        ({"mean_tokens": 80.0, "ended_share": 0.5}, "Fewer answers come to an end by themselves"),
        ({"kept_in_float32": 0.1}, "It serves in a precision that hides its training"),
    ],
)
def test_what_should_make_one_look_twice_is_said(as_owner, project, base, metrics, words):
    make_trained(project, base, metrics=metrics)
    assert words in as_owner.get(URL).content.decode()


def test_the_warnings_of_its_run_stand_on_its_page_and_its_notices_do_not(as_owner, trained):
    for line, code in enumerate(("many_dropped", "bfloat16_loses_signal"), start=1):
        RunEvent.objects.create(run=trained.run, line=line, kind="warning", data={"code": code, "message": f"told: {code}."})
    page = as_owner.get(URL).content.decode()
    assert "Told: many_dropped." in page and 'href="/projects/taste/runs/1/">Seen in run 1</a>' in page
    assert page.count("Seen in run 1") == 1 and "served in float32" not in page and "held-out pairs." not in page


# -- serving -----------------------------------------------------------------------------------------------
def test_one_click_makes_it_serve_and_back(as_owner, owner, project, base, trained):
    answer = as_owner.post(URL + "promote/", {"why": "shorter and right"})
    assert answer.status_code == 302 and answer.url == URL
    assert serving_version(project) == trained
    newest = Promotion.objects.first()
    assert (newest.by, newest.why) == (owner, "shorter and right")
    page = as_owner.get(URL).content.decode()
    assert "shorter and right" in page and "Make it serve</button>" not in page
    as_owner.post(LIST + "0/promote/")
    assert serving_version(project) == base


def test_what_happens_to_the_pairs_of_the_other_versions_is_said(as_owner, project, base, trained):
    words = "It retires 2 pairs of other versions that nobody has judged."
    assert "It retires" not in as_owner.get(URL).content.decode()
    for fields in ({}, {}, {"free_places": 0}, {"state": "done", "free_places": 0}):
        make_comparison(project, version=base, **fields)
    make_comparison(project, version=trained)
    assert words in as_owner.get(URL).content.decode() and "It retires" not in as_owner.get(LIST + "0/").content.decode()
    page = as_owner.post(URL + "promote/", follow=True).content.decode()
    assert "v1 serves now and writes the next pairs. Pairs of other versions that nobody has judged are retired" in page
    assert project.comparisons.filter(state="retired").count() == 2
    assert "It retires 1 pair of" in as_owner.get(LIST + "0/").content.decode()


@pytest.mark.parametrize(
    ("by_somebody", "why", "words"),
    [
        (False, "added", "served as soon as it was added"),
        (True, "added", "served as soon as olivia added it"),
        (False, "run 1 finished", "began to serve: run 1 finished"),
        (True, "", "made to serve by olivia</span>"),
        (True, "<b>shorter", "made to serve by olivia: &lt;b&gt;shorter"),
    ],
)
def test_why_it_served_is_told_as_one_would_say_it(as_owner, owner, project, trained, by_somebody, why, words):
    project.promotions.create(version=trained, by=owner if by_somebody else None, why=why)
    assert words in as_owner.get(URL).content.decode()


def test_too_long_a_reason_comes_back_with_the_text(as_owner, project, base, trained):
    answer = as_owner.post(URL + "promote/", {"why": "x" * 301})
    assert answer.status_code == 422 and "x" * 301 in answer.content.decode() and "id_why_error" in answer.content.decode()
    assert serving_version(project) == base


# -- lineage -----------------------------------------------------------------------------------------------
def test_a_chain_is_a_line_and_a_branch_opens_another(project, base):
    one = make_trained(project, base)
    two = make_trained(project, one)
    branch = make_trained(project, base)
    picture = lineage_of([base, one, two, branch], serving=two)
    places = {node.version: (node.x, node.y) for node in picture.nodes}
    assert places[base][1] == places[one][1] == places[two][1] < places[branch][1]
    assert places[base][0] < places[one][0] == places[branch][0] < places[two][0]
    assert [node.version for node in picture.nodes if node.serves] == [two] and len(picture.curves) == 3


def test_a_page_of_versions_whose_parents_are_on_another_page_is_drawn(project, base):
    one = make_trained(project, base)
    assert len(lineage_of([one], serving=None).nodes) == 1


# -- who ---------------------------------------------------------------------------------------------------
def test_an_annotator_may_not_look(client, annotator, trained):
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    assert [client.get(url).status_code for url in (LIST, URL)] == [403, 403]
    assert client.post(URL + "promote/").status_code == 403


def test_a_viewer_looks_and_does_nothing(client, viewer, project, base, trained):
    client.force_login(viewer, "django.contrib.auth.backends.ModelBackend")
    for url in (LIST, URL):
        page = client.get(url).content.decode()
        assert "Make it serve" not in page and "from_pretrained" not in page
    assert client.post(URL + "promote/").status_code == 403 and serving_version(project) == base


def test_a_stranger_finds_nothing(client, stranger, trained):
    client.force_login(stranger, "django.contrib.auth.backends.ModelBackend")
    assert [client.get(url).status_code for url in (LIST, URL)] == [404, 404]
    assert client.post(URL + "promote/").status_code == 404


def test_bad_numbers_and_wrong_methods(as_owner, trained):
    make_version(make_project(slug="other"), number=7)
    assert as_owner.get(LIST + "7/").status_code == 404
    assert as_owner.post(LIST + "7/promote/").status_code == 404
    assert as_owner.get(URL + "promote/").status_code == 405
    assert as_owner.post(URL).status_code == 405
