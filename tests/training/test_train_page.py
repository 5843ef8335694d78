"""Starting a run: what will happen is shown before it happens; filters; the same from API and command line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from annotate.models import Judgement
from annotate.models.prompt import Split
from tests.builders import make_completion, make_member, make_project, make_prompt, make_version
from tests.training.rows import add_events, make_judgement, make_run
from training.datasets.filters import FilterError, Filters, filters_in_words
from training.datasets.previews import preview_dataset
from training.datasets.snapshots import create_dataset
from training.models import Machine, Run
from training.runs.estimate import Shape, adapter_numbers, memory_of
from training.runs.ordering import Order, RunRefused, plan_run, start_run

URL = "/projects/taste/train/"
API = "/api/v1/projects/taste/runs/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def base(project):
    return make_version(project, serving=True, name="tiny")


def judge(project, who, outcome="first", *, version=None, strength=1, on=None, split=Split.TRAIN, **fields) -> Judgement:
    judgement = make_judgement(project, who, outcome, prompt=make_prompt(project, split=split), version=version, **fields)
    changes = {"strength": strength if outcome in ("first", "second") else 0} | ({"created_at": on} if on else {})
    Judgement.objects.filter(pk=judgement.pk).update(**changes)
    return judgement


@pytest.fixture
def judged(project, annotator, manager, base, var_dir):
    """Six pairs to train on, of different kinds, one held out, a tie, one of evaluation and one with a known answer."""
    other = make_version(project)
    old = datetime(2026, 1, 5, 12, tzinfo=UTC)
    batch = project.imports.create(number=1, file_name="others.jsonl", format="trl")
    judge(project, annotator, version=base)
    judge(project, annotator, version=base, strength=3)
    judge(project, manager, version=base)
    judge(project, annotator, version=other)
    judge(project, annotator, version=base, on=old)
    judge(project, annotator, batch=batch)
    judge(project, annotator, version=base, split=Split.HELDOUT)
    judge(project, annotator, "tie", version=base)
    judge(project, annotator, version=base, purpose="evaluate")
    judge(project, annotator, version=base, purpose="gold")
    return project


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    return client


# -- filters -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("filters", "train", "left_out"),
    [
        ({}, 6, 0),
        ({"min_strength": 2}, 1, 0),
        ({"since": "2026-02-01"}, 5, 1),
        ({"until": "2026-01-05"}, 1, 7),
        ({"since": "2026-01-05", "until": "2026-01-05"}, 1, 7),
        ({"people": ["marek"]}, 1, 7),
        ({"people": ["marek", "anna"]}, 6, 0),
        ({"sources": ["generated"]}, 5, 1),
        ({"sources": ["i1"]}, 1, 7),
        ({"versions": [1]}, 1, 7),
        ({"versions": ["v0", 1]}, 5, 1),
        ({"fresh": True}, 4, 2),
        ({"consensus": "every"}, 6, 0),
    ],
)
def test_each_filter_leaves_what_it_says(judged, base, filters, train, left_out):
    preview = preview_dataset(project=judged, filters=Filters.read(filters, project=judged), start=base)
    assert (preview.train, preview.left_out) == (train, left_out)
    assert preview.other == {"evaluate": 1, "gold": 1}


def test_filters_are_kept_with_the_dataset_and_the_same_triples_by_others_are_another_one(judged, base):
    everything = create_dataset(project=judged)
    fresh = create_dataset(project=judged, filters=Filters(fresh=True), start=base)
    assert everything.filters == {"consensus": "majority"}
    assert fresh.filters == {"consensus": "majority", "fresh": True, "start": 0} and fresh.train_count == 4
    same = create_dataset(project=judged, filters=Filters.read({"people": ["marek", "anna"]}, project=judged))
    assert same.train_sha256 == everything.train_sha256 and same.pk != everything.pk
    told = dict(filters_in_words(same.filters, names={pk: f"person {n}" for n, pk in enumerate(same.filters["people"], 1)}))
    assert told["People"] == "person 1, person 2"


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"consensus": "loudest"}, "consensus"),
        ({"min_strength": 9}, "min_strength"),
        ({"min_strength": True}, "min_strength"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "until"),
        ({"since": "0001-01-01"}, "since"),
        ({"until": "9999-12-31"}, "until"),
        ({"people": ["nobody"]}, "people"),
        ({"people": "anna"}, "people"),
        ({"people": ["a\0"]}, "people"),
        ({"sources": ["i7"]}, "sources"),
        ({"versions": [7]}, "versions"),
        ({"fresh": "yes"}, "fresh"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_filters_that_make_no_sense_are_refused_by_name(judged, filters, field):
    with pytest.raises(FilterError) as refusal:
        Filters.read(filters, project=judged)
    assert set(refusal.value.fields) == {field}


def test_a_stranger_of_another_project_cannot_be_named(judged):
    make_member(make_project(), "annotator", "elsewhere")
    with pytest.raises(FilterError, match="elsewhere"):
        Filters.read({"people": ["elsewhere"]}, project=judged)


# -- the estimate ------------------------------------------------------------------------------------------
SHAPE = Shape(parameters=1000, vocabulary=10, hidden=4, keys=2, intermediate=8, layers=2)


def config_of(**settings):
    from training.dpo.config import Config

    return Config.from_dict({"model": "m", "train": "t", "output": "o", "preset": "small", **settings})


def test_memory_by_hand():
    """AdamW: weights 4·1000, state 8·1000; one token keeps 2·(8·4 + 2·2 + 4·8) + 3·4 = 148 floats, the head 4·(2·1·10 + 2·40);
    the gradients are there after it, and twice while the optimizer works."""
    held, computing = 12_000, 4 * 148 + max(4 * (2 * 10 + 2 * 40), 4 * 148 // 2)
    assert memory_of(SHAPE, config_of(), tokens=1) == held + max(computing, 8_000)
    assert memory_of(SHAPE, config_of(), tokens=1, accumulates=True) == held + computing + 4_000
    assert memory_of(SHAPE, config_of(optimizer="rmsprop"), tokens=1) == held - 4_000 + 8_000


def test_memory_of_layers_that_the_trainer_has_itself():
    """A token more keeps 2·(4·4 + 2·2 + 2·8) floats in the layers and 3·4 once, 15 % of it for holes, and half of it at work."""
    fast = replace(SHAPE, family="llama")
    more = [memory_of(fast, config_of(), tokens=tokens, on_cpu=True) for tokens in (100, 101)]
    assert more[1] - more[0] == pytest.approx(4 * 84 * (1.15 + 0.5), abs=2)
    assert memory_of(fast, config_of(), tokens=100) == memory_of(SHAPE, config_of(), tokens=100)
    dora = config_of(preset="lora", dora=True)
    assert memory_of(fast, dora, tokens=100, on_cpu=True) == memory_of(SHAPE, dora, tokens=100, on_cpu=True)


@pytest.mark.torch
@pytest.mark.parametrize("own_layers", [True, False])
def test_the_formula_is_what_the_trainer_measures(tiny_model, own_layers):
    import torch

    from training.dpo.logprobs import ForwardPath, Precision, Scorer
    from training.dpo.memory import tokens_keep
    from training.dpo.model import load_model, read_model
    from training.dpo.tokens import Example

    cpu = torch.device("cpu")
    model = load_model(tiny_model, cpu) if own_layers else read_model(tiny_model)
    scorer = Scorer(model, Precision(cpu, torch.float32), ForwardPath(packed=True, budget=1000))
    kept = tokens_keep(scorer, Example(1, "a", tuple(range(3, 43)), (*range(5, 95), 2), (*range(7, 87), 2), 1.0, 0.0)).kept
    per_token = 2 * (4 * 32 + 2 * 16 + 2 * 64 if own_layers else 8 * 32 + 2 * 16 + 4 * 64) + 3 * 32
    assert kept == pytest.approx(4 * per_token, rel=0.06)  # of so small a model; positions and the like are told apart from it


def test_adapters_take_less_and_more_processes_share():
    shape = Shape(parameters=10**8, vocabulary=1000, hidden=512, keys=512, intermediate=1024, layers=8)
    whole = memory_of(shape, config_of(), tokens=100)
    assert adapter_numbers(shape, 16) == 8 * 16 * (8 * 512 + 3 * 1536)
    assert memory_of(shape, config_of(preset="lora"), tokens=100) < whole / 2
    assert memory_of(shape, config_of(), tokens=100, processes=4) < whole / 2
    assert memory_of(shape, config_of(), tokens=50_000, on_cpu=True) > memory_of(shape, config_of(), tokens=50_000)
    long = memory_of(shape, config_of(), tokens=50_000)
    assert memory_of(shape, config_of(checkpoint_activations=True), tokens=50_000) < long / 2


def machine(**fields) -> Machine:
    told = {"host": "box", "device": "cpu", "name": "A CPU", "count": 8, "memory_bytes": 10**10, "flops": 1e11}
    return Machine.objects.create(**told | {"seen_at": timezone.now()} | fields)


def write_config(version, **sizes) -> None:
    version.path.mkdir(parents=True)
    told = {"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2} | sizes
    (version.path / "config.json").write_text(__import__("json").dumps(told))


def test_a_run_that_cannot_fit_is_refused_in_words_and_one_that_fits_is_not(judged, base):
    write_config(base)
    base.parameters = 7 * 10**9
    base.save()
    machine()
    with pytest.raises(
        RunRefused, match=r"It cannot fit: even one pair at a time needs about .* GB, and A CPU on box has 10\.0 GB"
    ):
        start_run(project=judged)
    assert not Run.objects.exists()
    machine(host="big", memory_bytes=10**12)
    assert start_run(project=judged).parent == base


def test_a_machine_that_has_not_been_seen_for_days_does_not_count(judged, base):
    machine(seen_at=timezone.now() - timedelta(days=9))
    estimate = plan_run(project=judged, order=Order()).estimate
    assert estimate.machine is None and "No worker has told yet" in estimate.unknown[0]


def test_time_comes_from_runs_of_the_same_kind_and_else_from_the_machine(judged, base):
    base.parameters = 10**6
    base.save()
    machine()
    plan = plan_run(project=judged, order=Order())
    work = plan.estimate.tokens + (plan.estimate.tokens / 2 + 43) / 3  # two epochs, the reference once and the held-out pair
    assert plan.estimate.seconds == pytest.approx(6 * 10**6 * work / 1e11, rel=0.1)
    run = make_run(judged, base, state="done")
    add_events(run)
    timed = plan_run(project=judged, order=Order()).estimate
    assert timed.seconds == pytest.approx(plan.estimate.seconds * 1e11 / (6 * 10**6) / 900) and "run 1" in timed.seconds_from
    assert "run 1" not in plan_run(project=judged, order=Order(preset="lora")).estimate.seconds_from


def test_tokens_follow_what_answers_here_have_shown(judged, base):
    before = plan_run(project=judged, order=Order()).estimate.tokens
    for _ in range(5):
        make_completion(make_prompt(judged), "abcdefgh" * 10, base, token_count=80)
    assert plan_run(project=judged, order=Order()).estimate.tokens > 1.5 * before


@pytest.mark.torch
def test_the_formula_agrees_with_what_the_layers_keep():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.dpo.logprobs import ForwardPath, Precision, Scorer
    from training.dpo.memory import tokens_keep
    from training.dpo.tokens import Example

    sizes = dict(hidden_size=192, intermediate_size=768, num_hidden_layers=3)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=300, num_attention_heads=6, num_key_value_heads=3, **sizes))
    scorer = Scorer(model, Precision(torch.device("cpu"), torch.float32), ForwardPath(packed=True, budget=4096))
    tokens = tuple(range(5, 105))
    example = Example(line=1, id=1, prompt=tokens, chosen=tokens, rejected=tokens[::-1], weight=1, margin=1)
    assert tokens_keep(scorer, example).kept == pytest.approx(4 * (3 * (8 * 192 + 2 * 96 + 4 * 768) + 3 * 192), rel=0.05)


@pytest.mark.torch
def test_a_worker_tells_what_it_runs_on(db):
    from training.worker.machines import note_machine

    told = note_machine()
    assert told.memory_bytes > 10**8 and told.flops > 1e8 and told.count >= 1 and told.name
    assert note_machine() == told and Machine.objects.seen_lately().count() == 1


# -- the page ----------------------------------------------------------------------------------------------
def test_the_page_shows_what_will_happen(as_owner, judged):
    page = as_owner.get(URL).content.decode()
    for words in (
        "<dt>would train</dt><dd>6</dd>",
        "1 tie",
        "Judged from",
        "Gradient",
        "Clip gradients at",
        "No worker has told yet",
    ):
        assert words in page, words
    assert page.count("tuning-preset") >= 32 and "(above 0 to 100)" in page


def test_counts_follow_the_form_and_the_address_carries_no_token(as_owner, judged):
    answer = as_owner.get(URL, {"preset": "small", "versions": ["1"]}, headers=HTMX)
    page = answer.content.decode()
    assert "<dt>would train</dt><dd>1</dd>" in page and "7 judged pairs" in page and "<html" not in page
    assert "HX-Request" in answer["Vary"]
    assert 'hx-params="not csrfmiddlewaretoken"' in as_owner.get(URL).content.decode()
    faulty = as_owner.get(URL, {"preset": "small", "beta": "much", "loss": "ipo"}, headers=HTMX)
    assert faulty.status_code == 200 and "Enter a number." in faulty.content.decode()


def test_a_filtered_run_keeps_its_filters(as_owner, judged, annotator):
    data = {"preset": "small", "people": [str(annotator.pk)], "fresh": "on", "since": "2026-01-01", "dora": "", "threads": "1"}
    assert as_owner.post(URL, data).status_code == 302
    run = Run.objects.get()
    kept = {"consensus": "majority", "since": "2026-01-01", "people": [annotator.pk], "fresh": True, "start": 0}
    assert run.dataset.filters == kept and run.settings["overrides"] == {"threads": 1} and run.dataset.train_count == 3


def test_reference_and_processes_are_chosen_apart(as_owner, judged, base):
    other = judged.versions.get(number=1)
    assert as_owner.post(URL, {"preset": "small", "reference": other.pk, "processes": "2"}).status_code == 302
    run = Run.objects.get()
    assert (run.parent, run.reference, run.processes) == (base, other, 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"processes": "0"}, "greater than or equal to 1"),
        ({"processes": "65"}, "less than or equal to 64"),
        ({"since": "tomorrow"}, "Enter a valid date"),
        ({"since": "2026-03-01", "until": "2026-02-01"}, "Before the first day"),
        ({"people": ["999999"]}, "not one of the available choices"),
        ({"versions": ["0\0"]}, "not one of the available choices"),
        ({"lora_targets": "x" * 1_000_000}, "at most 1000 characters"),
        ({"dora": "True"}, "dora: it is for LoRA only"),
        ({"sft_epochs": "1", "reference": "OTHER"}, "with sft_epochs it is what SFT makes"),
    ],
)
def test_what_cannot_be_is_refused_and_the_typed_text_kept(as_owner, judged, data, words):
    data = {name: judged.versions.get(number=1).pk if value == "OTHER" else value for name, value in data.items()}
    answer = as_owner.post(URL, {"preset": "small", "beta": "0.25"} | data)
    page = answer.content.decode()
    assert answer.status_code == 422 and words in page and 'value="0.25"' in page and not Run.objects.exists()


def test_the_address_of_a_refused_page_can_be_opened(as_owner, judged):
    assert as_owner.post(URL, {"preset": "huge"}).status_code == 422
    assert as_owner.get(URL).status_code == 200


def test_a_run_is_cloned_with_changes(as_owner, judged, base, annotator):
    start_run(
        project=judged, preset="paper", overrides={"beta": 0.37, "dora": False}, processes=2,
        filters=Filters.read({"people": ["anna"], "min_strength": 1}, project=judged),
    )  # fmt: skip
    page = as_owner.get(URL, {"like": "1"}).content.decode()
    assert 'value="0.37"' in page and f'<option value="{annotator.pk}" selected>' in page
    assert 'value="paper" checked' in page and "A run like run 1" in page and "<dt>would train</dt><dd>5</dd>" in page
    assert as_owner.get(URL, {"like": "9"}).status_code == as_owner.get(URL, {"like": "x"}).status_code == 404


def test_without_a_model_it_says_how_to_add_one(as_owner, project):
    answer = as_owner.get(URL)
    assert answer.status_code == 200 and "manage.py add_model" in answer.content.decode()


# -- API and command line ----------------------------------------------------------------------------------
def test_the_api_takes_filters_and_tells_without_starting(as_owner, judged):
    asked = {"filters": {"versions": [1]}, "reference": 1, "processes": 2, "dry_run": True}
    told = as_owner.post(API, asked, content_type="application/json")
    assert told.status_code == 200 and told.json()["train_count"] == 1 and told.json()["reference"] == 1
    assert not Run.objects.exists()
    made = as_owner.post(API, asked | {"dry_run": False}, content_type="application/json")
    assert made.status_code == 201 and made.json()["dataset"]["filters"]["versions"] == [1] and made.json()["processes"] == 2


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"filters": {"people": ["nobody"]}}, "filters"), ({"filters": []}, "filters"), ({"processes": 0}, "processes"),
     ({"reference": 10**12}, "reference")],
)  # fmt: skip
def test_the_api_refuses_by_field(as_owner, judged, asked, field):
    answer = as_owner.post(API, asked, content_type="application/json")
    assert answer.status_code == 400 and field in str(answer.json()["fields"]) and not Run.objects.exists()


def test_the_command_line_does_the_same(judged, capsys):
    call_command("train", "--project", "taste", "--person", "anna", "--set", "beta=0.3", "--dry-run")
    assert "It would train on 5 triples, 1 held out" in capsys.readouterr().out and not Run.objects.exists()
    call_command("train", "--project", "taste", "--fresh", "--set", "loss=ipo", "--reference", "v1", "--processes", "2")
    run = Run.objects.get()
    assert run.settings["overrides"] == {"loss": "ipo"} and run.reference.number == 1 and run.dataset.train_count == 4
    with pytest.raises(CommandError, match="nobody"):
        call_command("train", "--project", "taste", "--person", "nobody")
    with pytest.raises(CommandError, match="no version “v9”"):
        call_command("train", "--project", "taste", "--parent", "v9")
