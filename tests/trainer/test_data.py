"""Rows: every bad one refused with its line; tokens: exactly what is trained."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.dpo.data import read_triples
from training.dpo.errors import DataError, ModelError
from training.dpo.tokens import Limits, audit_of, encode, find_ending, require_pairs, tokenise

from .tiny import make_row, tiny_tokenizer, write_rows

WIDE = Limits(max_prompt=200, max_completion=200, max_row=512, over_long="drop")


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def tokenised(tmp_path: Path, rows: list[dict[str, Any]], limits: Limits = WIDE) -> Any:
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    return tokenise(tiny_tokenizer(), read_triples(path), path, limits)


def test_all_bad_rows_at_once_with_line_numbers(tmp_path: Path) -> None:
    good = make_row()
    bad = [
        ("rejected", answer(" \n"), '"rejected" is empty'),
        ("chosen", [], '"chosen" is empty'),
        ("chosen", good["rejected"], '"chosen" and "rejected" are identical'),
        ("prompt", "Hello", '"prompt" must be a list of messages'),
        ("prompt", [{"role": "user"}], '"prompt" must hold messages with "role" and "content" as text'),
        (
            "prompt",
            [*good["prompt"], *answer("Yes")],
            "\"prompt\" ends with the assistant's message; it must end with the user's",
        ),
        ("chosen", [*answer("Yes"), *answer("No")], '"chosen" has 2 messages'),
        ("chosen", [{"role": "user", "content": "Yes"}], '"chosen" must hold one message of role "assistant"'),
        ("weight", -1, '"weight" must be a finite number of at least 0'),
        ("margin", "much", '"margin" must be a finite number'),
        ("rejected_truncated", 1, '"rejected_truncated" must be true or false'),
    ]
    path = write_rows(tmp_path / "pairs.jsonl", [good, *({**good, key: value} for key, value, _ in bad)])
    path.write_text(path.read_text() + "\n{oops\n[1]\n")
    with pytest.raises(DataError) as caught:
        read_triples(path)
    text = str(caught.value)
    for line, (_, _, words) in enumerate(bad, start=2):
        assert f"pairs.jsonl line {line}: {words}" in text
    assert "pairs.jsonl line 14: not JSON" in text and "pairs.jsonl line 15: not a JSON object" in text
    assert f"{len(bad) + 2} fault(s)" in text and "Delete the row or export again." in text


def test_a_long_list_of_faults_is_cut_and_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", [{"prompt": 1}] * 30)
    with pytest.raises(DataError, match=r"90 fault\(s\)(.|\n)*… and 70 more") as caught:
        read_triples(path)
    assert str(caught.value).count(" line ") == 20


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe"])
def test_files_without_rows_or_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"pairs\.jsonl (has no rows|is not UTF-8)"):
        read_triples(tmp_path / "pairs.jsonl")


def test_extra_keys_blank_lines_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", [make_row(0, extra=1), make_row(1, id=None, weight=0.5)])
    path.write_text("\ufeff\n" + path.read_text().replace("\n", "\r\n"), encoding="utf-8")
    rows = read_triples(path)
    assert [(row.line, row.id, row.weight) for row in rows] == [(2, "row-0", 1.0), (3, None, 0.5)]


def test_end_of_turn_is_trained_and_the_newline_after_it_is_not(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    example = tokenised(tmp_path, [make_row()]).examples[0]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert example.chosen[-1] == end and example.rejected[-1] == end
    assert tokenizer.decode(example.chosen) == make_row()["chosen"][0]["content"] + "<|im_end|>"
    whole = tokenizer.apply_chat_template([*make_row()["prompt"], *make_row()["chosen"]], tokenize=False)
    assert tokenizer.decode(example.prompt + example.chosen) + "\n" == whole


def test_a_truncated_answer_is_not_taught_to_end_where_it_was_cut(tmp_path: Path) -> None:
    result = tokenised(tmp_path, [make_row(0, rejected_truncated=True), make_row(1, chosen_truncated=None)])
    cut, whole = result.examples
    assert tiny_tokenizer().decode(cut.rejected) == make_row(0)["rejected"][0]["content"]
    assert cut.chosen[-1] == whole.chosen[-1] == whole.rejected[-1] == 2
    assert (result.audit["answers_cut"], result.audit["without_end_of_turn"]) == (1, [])


def test_an_answer_that_should_end_and_does_not_is_found(tmp_path: Path) -> None:
    example = tokenised(tmp_path, [make_row(7)]).examples[0]
    ending = find_ending(tiny_tokenizer())
    for broken in (
        replace(example, chosen=example.chosen[:-1]),
        replace(example, rejected=(2, *example.rejected)),
        replace(example, chosen_truncated=True),
    ):
        assert audit_of([broken], ending, 1, Counter())["without_end_of_turn"] == [1]


def test_prompt_and_completion_are_encoded_apart(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ eos_token if not add_generation_prompt }}"
    path = write_rows(
        tmp_path / "pairs.jsonl",
        [make_row(prompt=[{"role": "user", "content": "Why is "}], chosen=answer("the"), rejected=answer("air"))],
    )
    alone = tokenizer("Why is ", add_special_tokens=False)["input_ids"]
    joined = tokenizer("Why is the", add_special_tokens=False)["input_ids"]
    assert joined[: len(alone)] != alone, "the case must be one in which joining the texts changes the prompt's tokens"
    example = encode(tokenizer, read_triples(path)[0], find_ending(tokenizer))
    assert list(example.prompt) == alone
    assert list(example.chosen) == [*tokenizer("the", add_special_tokens=False)["input_ids"], 2]


def test_text_that_looks_like_a_special_token_stays_text(tmp_path: Path) -> None:
    example = tokenised(tmp_path, [make_row(chosen=answer("one <|im_end|> two"))]).examples[0]
    assert example.chosen.count(2) == 1


def test_all_turns_of_a_dialogue_are_in_the_prompt(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "First"}, *answer("Second"), {"role": "user", "content": "Third"}]
    example = tokenised(tmp_path, [make_row(prompt=prompt)]).examples[0]
    text = tiny_tokenizer().decode(example.prompt)
    assert text.index("First") < text.index("Second") < text.index("Third") and text.endswith("<|im_start|>assistant\n")


def test_audit_counts(tmp_path: Path) -> None:
    long = make_row(3, prompt=[{"role": "user", "content": "word " * 80}])
    audit = tokenised(tmp_path, [make_row(0), make_row(1), long], Limits(60, 60, None, "drop")).audit
    assert (audit["rows"], audit["pairs"], audit["dropped"], audit["truncated"]) == (3, 2, 1, 0)
    assert (audit["end_of_turn"], audit["end_of_turn_id"], audit["without_end_of_turn"]) == ("<|im_end|>", 2, [])
    assert audit["chosen_tokens"]["min"] <= audit["chosen_tokens"]["mean"] <= audit["chosen_tokens"]["max"]


def test_truncated_prompts_keep_their_end(tmp_path: Path) -> None:
    long = make_row(0, prompt=[{"role": "user", "content": "word " * 80 + "last"}])
    result = tokenised(tmp_path, [long], Limits(40, 60, None, "truncate_prompt"))
    assert len(result.examples[0].prompt) == 40 and result.audit["truncated"] == 1
    assert tiny_tokenizer().decode(result.examples[0].prompt).endswith("last<|im_end|>\n<|im_start|>assistant\n")


def test_answers_are_never_cut(tmp_path: Path) -> None:
    long = make_row(0, chosen=answer("word " * 80))
    result = tokenised(tmp_path, [long, make_row(1)], Limits(200, 60, None, "truncate_prompt"))
    assert (result.audit["pairs"], result.audit["dropped"]) == (1, 1)


def test_policy_error_names_the_line(tmp_path: Path) -> None:
    long = make_row(0, prompt=[{"role": "user", "content": "word " * 80}])
    with pytest.raises(DataError, match=r"pairs\.jsonl line 2: too long: \d+ prompt and \d+ answer tokens"):
        tokenised(tmp_path, [make_row(1), long], Limits(60, 60, None, "error"))


def test_the_models_own_limit_counts(tmp_path: Path) -> None:
    limits = Limits(200, 200, 20, "drop")
    result = tokenised(tmp_path, [make_row(0)], limits)
    assert result.audit["dropped"] == 1 and result.audit["prompt_tokens"]["total"] == 0
    with pytest.raises(DataError, match="all 1 pairs are longer"):
        require_pairs(result, tmp_path / "pairs.jsonl", limits)


def test_a_tokenizer_without_a_template_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        find_ending(tokenizer)


def test_text_before_the_end_of_turn_belongs_to_the_answer() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }} ]<|im_end|>\n{% endfor %}"
    assert find_ending(tokenizer).text == " ]" and find_ending(tokenizer).token == "<|im_end|>"


def test_single_answers_are_for_losses_that_take_them(tmp_path: Path) -> None:
    row = {"prompt": make_row()["prompt"], "completion": answer("Yes."), "label": False}
    path = write_rows(tmp_path / "pairs.jsonl", [make_row(), row, row | {"label": 1}, row | {"completion": answer(" ")}])
    with pytest.raises(DataError) as refused:
        read_triples(path)
    assert str(refused.value).count("which only the loss kto learns from") == 3 and "pairs.jsonl line 2: it has one" in str(
        refused.value
    )
    with pytest.raises(DataError) as refused:
        read_triples(path, unpaired=True)
    assert 'line 3: "label" must be true (desirable) or false' in str(refused.value)
    assert 'line 4: "completion" is empty' in str(refused.value) and "2 fault(s)" in str(refused.value)
    write_rows(path, [make_row(), row, row | {"label": True, "completion_truncated": True, "weight": 2}])
    pair, disliked, liked = read_triples(path, unpaired=True)
    assert (disliked.chosen, disliked.rejected, liked.chosen, liked.rejected) == ("", "Yes.", "Yes.", "")
    assert pair.chosen and pair.rejected and liked.chosen_truncated and not liked.rejected_truncated and liked.weight == 2.0


def test_single_answers_as_tokens(tmp_path: Path) -> None:
    row = {"prompt": make_row()["prompt"], "completion": answer("Yes."), "label": False}
    path = write_rows(tmp_path / "pairs.jsonl", [make_row(), row, row | {"completion_truncated": True}])
    read = tokenise(tiny_tokenizer(), read_triples(path, unpaired=True), path, WIDE)
    pair, alone, cut = read.examples
    assert alone.chosen == () and alone.rejected[-1] == 2 and alone.rejected[:-1] == cut.rejected and alone.prompt == pair.prompt
    assert alone.tokens == len(alone.prompt) + len(alone.rejected) == alone.width
    assert read.audit["unpaired"] == 2 and read.audit["without_end_of_turn"] == [] and read.audit["answers_cut"] == 1
    assert read.audit["chosen_tokens"]["min"] == len(pair.chosen)
