"""A two-layer language model with a ChatML template, made on the spot; other tests may import it, too."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = [
    "Why is the sky blue? Because the air scatters blue light more than red light.",
    "Write a short answer about the sea. The sea is large, deep and salty.",
    "How do I bake bread? Mix flour, water, salt and yeast, wait, and bake it for an hour.",
    "user assistant system I am not sure about that, but I would say yes or no.",
]


def make_tiny_model(directory: Path, seed: int = 0) -> Path:
    """Save a random Llama of about 40,000 weights with its tokenizer to `directory`; the pad token is the end of turn."""
    directory = Path(directory)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        pad_token_id=2, initializer_range=0.1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_model_that_says(letter: str, directory: Path) -> Path:
    """Save a Llama that answers everything with one letter and ends there: each token's embedding says what follows it."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    said = tokenizer.convert_tokens_to_ids(letter)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight[:, 0] = 1  # after any token …
        model.lm_head.weight[said, 0] = 10  # … the letter
        model.model.embed_tokens.weight[said] = torch.eye(32)[1]  # after the letter …
        model.lm_head.weight[tokenizer.eos_token_id, 1] = 10  # … the end
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer


def make_row(number: int = 0, **overrides: Any) -> dict[str, Any]:
    """One valid triple; rows with different numbers differ in text and length."""
    words = CORPUS[number % len(CORPUS)].split()
    return {
        "id": f"row-{number}",
        "prompt": [{"role": "user", "content": " ".join(words[: 4 + number % 3]) + f" ({number})"}],
        "chosen": [{"role": "assistant", "content": " ".join(words[3 : 6 + number % 5])}],
        "rejected": [{"role": "assistant", "content": " ".join(reversed(words[2 : 9 + number % 4]))}],
        **overrides,
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_config(model: Path, directory: Path, pairs: int = 10, heldout: int = 4, **overrides: Any) -> dict[str, Any]:
    """Config of a short float32 run in `directory`/run over `pairs` triples that are written beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    train = write_rows(directory / "train.jsonl", [make_row(number) for number in range(pairs)])
    held = write_rows(directory / "heldout.jsonl", [make_row(100 + number) for number in range(heldout)]) if heldout else None
    return {
        "model": str(model), "train": str(train), "heldout": str(held) if held else None, "output": str(directory / "run"),
        "optimizer": "adamw", "learning_rate": 1e-3, "batch_pairs": 4, "micro_batch_tokens": 90, "epochs": 2.0,
        "heldout_every": 2, "checkpoint_every": 2, "device": "cpu", "compute": "float32", "threads": 1, "seed": 7,
        "samples": 0,
        **overrides,
    }  # fmt: skip
