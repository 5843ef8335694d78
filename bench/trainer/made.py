"""Models and pairs for speed alone: random weights of a published shape, and answers of random words, each of them one token.

For machines that have no trained weights, such as a borrowed GPU. Both trainers read them as they read any other.
"""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

# Published shapes (Qwen2.5-0.5B and -1.5B, Llama-3.1-8B): hidden, intermediate, layers, heads, key-value heads, vocabulary, tied.
SIZES = {
    "tiny": (64, 128, 2, 4, 2, 512, True),
    "small": (128, 352, 4, 4, 2, 8_192, True),
    "0.5b": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151_936, True),
    "8b": (4096, 14_336, 32, 32, 8, 128_256, False),
}
WORDS = 400  # that are used; each model has more
SPECIAL = ["<|im_start|>", "<|im_end|>", "user", "assistant", "<unk>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)


def config_of(size: str, vocabulary: int | None = None) -> LlamaConfig:
    hidden, inner, layers, heads, kv_heads, own, tied = SIZES[size]
    return LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocabulary or own, tie_word_embeddings=tied, max_position_embeddings=8192,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def make_model(size: str, directory: Path) -> Path:
    """The weights, in bfloat16 to keep the file small, with a tokenizer of words."""
    torch.manual_seed(0)
    LlamaForCausalLM(config_of(size)).bfloat16().save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*SPECIAL, *(f"w{number}" for number in range(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="<unk>"
    )
    made.chat_template = CHATML
    return made


def make_pairs(count: int, lengths: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Triples whose prompt, chosen and rejected answer spread around so many words."""
    chance = random.Random(0)

    def text(mean: int) -> str:
        return " ".join(f"w{chance.randrange(WORDS)}" for _ in range(chance.randint(max(2, mean // 2), 3 * mean // 2)))

    def row(number: int) -> dict[str, Any]:
        prompt, *answers = map(text, lengths)
        chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in answers)
        return {"id": number, "prompt": [{"role": "user", "content": prompt}], "chosen": chosen, "rejected": rejected}

    return [row(number) for number in range(count)]
