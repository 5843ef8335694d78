"""Each format as others write it, and ours through each of them and back."""

import gzip
import io
import json
import random
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
import zstandard

from annotate.consensus.judged import Answer, JudgedComparison
from annotate.consensus.triples import Triple
from annotate.data.exports import open_compressed, write_rows
from annotate.formats import files
from annotate.formats.files import FileBroken, check_whole, read_objects
from annotate.formats.registry import JUDGEMENT_WRITERS, READERS, TRIPLE_WRITERS, UnknownFormat, detect, read
from annotate.formats.rows import BadRow, PreferenceRow
from annotate.models.judgement import Outcome

DATA = Path(__file__).parents[2] / "shared" / "data"
if not DATA.is_dir():
    DATA = Path("/work/shared/data")

USER = [{"role": "user", "content": "Q"}]
SYSTEM = {"role": "system", "content": "S"}
A, B = [{"role": "assistant", "content": "A"}], [{"role": "assistant", "content": "B"}]
FIRST, SECOND, TIE, BOTH_BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD


def jsonl(*rows) -> io.BytesIO:
    return io.BytesIO(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))


def facts(row: PreferenceRow) -> tuple:
    return row.prompt, row.a, row.b, row.outcome, row.strength


KTO = {"prompt": USER, "completion": A, "label": True}
OPENAI = {"input": {"messages": USER, "tools": [], "parallel_tool_calls": True}, "preferred_output": A, "non_preferred_output": B}
HH = {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}
BATTLE = {
    "question_id": "q", "model_a": "left-model", "model_b": "right-model", "winner": "model_b", "judge": "j1", "turn": 1,
    "anony": True, "language": "English", "tstamp": 1.0, "conversation_a": [*USER, *A], "conversation_b": [*USER, *B],
}  # fmt: skip
BATTLE_55K = {
    "id": 1, "model_a": "left-model", "model_b": "right-model", "prompt": '["Q"]', "response_a": '["A"]',
    "response_b": '["B"]', "winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1,
}  # fmt: skip
ALPACA = {"instruction": "Q", "output_1": "A", "output_2": "B", "generator_1": "x", "generator_2": "y", "preference": 2}
RESULT = {"from_name": "comparison", "to_name": "answer1,answer2", "type": "pairwise", "value": {"selected": "left"}}
TASK = {
    "id": 1,
    "data": {"prompt": "Q", "answer1": "A", "answer2": "B"},
    "annotations": [{"completed_by": 3, "was_cancelled": False, "lead_time": 4.3, "result": [RESULT]}],
}
RECORD = {
    "fields": {"prompt": "Q", "reply-1": "A", "reply-2": "B"},
    "responses": {"preference": [{"value": "reply-1", "user_id": "u1"}]},
    "metadata": {},
    "status": "completed",
}
ULTRA = {"prompt": "Q", "prompt_id": "p", "chosen": [*USER, *A], "rejected": [*USER, *B], "messages": [*USER, *A]}
WON = (USER, "A", "B", FIRST, 1.0)

AS_OTHERS_WRITE_IT = [
    ("trl", {"prompt": USER, "chosen": A, "rejected": B}, WON),
    ("trl", {"prompt": USER, "chosen": A, "rejected": B, "margin": 3}, (*WON[:4], 3)),
    ("trl", {"prompt": "Q", "chosen": " A", "rejected": " B"}, (USER, " A", " B", FIRST, 1.0)),
    ("trl", {"chosen": [*USER, *A], "rejected": [*USER, *B]}, WON),
    ("trl", {"chosen": "Q A", "rejected": "Q B"}, (USER, " A", " B", FIRST, 1.0)),
    ("openai", OPENAI, WON),
    ("openai", OPENAI | {"input": {"messages": [SYSTEM | {"role": "developer"}, *USER]}}, ([SYSTEM, *USER], *WON[1:])),
    ("hh", HH, WON),
    ("ultrafeedback", ULTRA, WON),
    ("ultrafeedback", ULTRA | {"score_chosen": 8.5, "score_rejected": 6.0}, (*WON[:4], 2.5)),
    ("ultrafeedback", ULTRA | {"score_chosen": 6.0, "score_rejected": 6.0}, (USER, "A", "B", TIE, 0.0)),
    ("arena", BATTLE, (USER, "A", "B", SECOND, 1.0)),
    ("arena", BATTLE | {"winner": "tie"}, (USER, "A", "B", TIE, 0)),
    ("arena", BATTLE | {"winner": "tie (bothbad)"}, (USER, "A", "B", BOTH_BAD, 0)),
    ("arena", BATTLE_55K, (USER, "A", "B", TIE, 0)),
    ("arena", BATTLE_55K | {"winner_tie": 0, "winner_model_b": 1}, (USER, "A", "B", SECOND, 1.0)),
    ("alpaca-eval", ALPACA, (USER, "A", "B", SECOND, 1)),
    ("alpaca-eval", ALPACA | {"preference": 1.5}, (USER, "A", "B", TIE, 0)),
    ("alpaca-eval", ALPACA | {"preference": 0}, (USER, "A", "B", TIE, 0)),
    ("alpaca-eval", ALPACA | {"preference": 1.02}, (USER, "A", "B", FIRST, 1)),
    ("label-studio", TASK, WON),
    ("argilla", RECORD, WON),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "expected"), AS_OTHERS_WRITE_IT)
def test_a_row_as_others_write_it(name, row, expected):
    assert detect(jsonl(row)) == name
    [found] = read(jsonl(row), name)
    assert facts(found) == expected


def test_who_wrote_and_who_judged_is_kept():
    [battle] = read(jsonl(BATTLE), "arena")
    assert battle.meta == {"annotator": "j1", "id": "q", "model_a": "left-model", "model_b": "right-model"}
    [alpaca] = read(jsonl(ALPACA | {"annotator": "gpt4"}), "alpaca-eval")
    assert alpaca.meta == {"model_a": "x", "model_b": "y", "annotator": "gpt4"}
    [task] = read(jsonl(TASK), "label-studio")
    assert task.meta == {"annotator": 3, "seconds": 4.3, "id": 1}
    [tools] = read(jsonl({"prompt": USER, "chosen": A, "rejected": B, "tools": [{"name": "f"}]}), "trl")
    assert tools.meta["tools"] == [{"name": "f"}]


def test_left_is_the_first_name_in_to_name():
    swapped = TASK | {"annotations": [{"completed_by": 3, "result": [RESULT | {"to_name": "answer2,answer1"}]}]}
    [row] = read(jsonl(swapped), "label-studio")
    assert facts(row) == (USER, "B", "A", FIRST, 1.0)


def test_a_transcript_of_several_turns_and_one_whose_starts_differ():
    start = "\n\nHuman: Q\n\nAssistant: yes\n\nHuman: R\n\nAssistant:"
    good = {"chosen": start + " A", "rejected": start + " B"}
    other = {"chosen": start + " A", "rejected": "\n\nHuman: Q\n\nAssistant: no\n\nHuman: R\n\nAssistant: B"}
    row, bad = read(jsonl(good, other), "hh")
    assert [message["content"] for message in row.prompt] == ["Q", "yes", "R"]
    assert (row.a, row.b, bad.line) == ("A", "B", 2)
    assert "differ before the last answer" in bad.reason


def test_unpaired_rows_are_paired_where_they_belong_together():
    def rows(*labels):
        return [
            {"prompt": USER, "completion": [{"role": "assistant", "content": str(n)}], "label": label}
            for n, label in enumerate(labels)
        ]

    assert [facts(row)[1:4] for row in read(jsonl(*rows(True, False)), "trl-kto")] == [("0", "1", FIRST)]
    assert [facts(row)[1:4] for row in read(jsonl(*rows(False, True)), "trl-kto")] == [("0", "1", SECOND)]
    assert [facts(row)[1:4] for row in read(jsonl(*rows(False, False)), "trl-kto")] == [("0", "1", BOTH_BAD)]
    alone = list(read(jsonl(*rows(True, True), {**KTO, "prompt": "another"}), "trl-kto"))
    assert sorted(bad.line for bad in alone) == [1, 2, 3]
    assert all("stands alone" in bad.reason for bad in alone)


BAD = [
    ("trl-kto", KTO | {"label": 1}, "label is neither"),
    ("openai", OPENAI | {"input": "Q"}, "has no messages"),
    ("hh", HH | {"chosen": "A"}, "no answer of the assistant"),
    ("hh", HH | {"chosen": "\n\nHuman: Q\n\nAssistant: "}, "is empty"),
    ("arena", BATTLE | {"winner": "both"}, "does not say who won"),
    ("arena", BATTLE | {"conversation_b": [{"role": "user", "content": "R"}, *B]}, "differ before the last answer"),
    ("arena", BATTLE_55K | {"response_a": "A"}, "not a JSON list"),
    ("arena", BATTLE_55K | {"response_a": '["A", "A2"]'}, "prompt has 1 turns and response_a 2"),
    ("arena", BATTLE_55K | {"winner_model_a": 1}, "does not say who won"),
    ("alpaca-eval", ALPACA | {"preference": 3}, "not between 1 and 2"),
    ("alpaca-eval", ALPACA | {"preference": None}, '"preference" is missing'),
    ("label-studio", TASK | {"annotations": []}, "Nobody has answered"),
    ("label-studio", TASK | {"annotations": [{"was_cancelled": True, "result": [RESULT]}]}, "Nobody has answered"),
    ("label-studio", TASK | {"annotations": [{"result": []}]}, "neither left nor right"),
    ("label-studio", TASK | {"annotations": [{"result": [RESULT | {"value": "left"}]}]}, "neither left nor right"),
    ("argilla", RECORD | {"responses": {}}, "Nobody has answered"),
    ("argilla", RECORD | {"responses": {"preference": [{"value": ["reply-1"]}]}}, "none of those known"),
    ("argilla", RECORD | {"fields": {"prompt": "Q", "reply-1": "A"}}, '"reply-2" is missing'),
    ("ultrafeedback", ULTRA | {"chosen": USER}, "does not end with the assistant's message after the user's"),
    ("judgements", {"prompt": USER, "first": "A", "second": "B", "outcome": "left"}, "outcome is none of those"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD)
def test_a_bad_row_is_named_and_the_rest_read(name, row, reason):
    rows = [row, b"{nonsense", row]
    found = list(read(jsonl(*rows), name))
    assert [bad.line for bad in found] == [1, 2, 3]
    assert reason in found[0].reason and reason in found[2].reason
    assert "Not JSON" in found[1].reason
    assert all(bad.next_step for bad in found)


@pytest.mark.parametrize("name", READERS)
def test_any_value_of_any_kind_is_answered_with_a_row_or_a_reason(name):
    """Each known key with each kind of value: never an exception."""
    values = [
        None,
        True,
        0,
        -1.5,
        float("nan"),
        "",
        "text",
        "[",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
        [{"role": "user"}],
        [*USER, *A],
        [*USER, *B],
    ]
    rows = [row for other, row, _ in AS_OTHERS_WRITE_IT if other == name] + [row for other, row, _ in BAD if other == name]
    rows += [KTO] if name == "trl-kto" else []
    changed = [row | {key: value} for row in rows for key in row for value in values]
    for key in ("data", "fields", "responses", "input"):
        changed += [
            row | {key: row[key] | {inner: value}}
            for row in rows
            if isinstance(row.get(key), dict)
            for inner in row[key]
            for value in values
        ]
    assert all(isinstance(found, PreferenceRow | BadRow) for found in read(jsonl(*changed), name))


# -- which format --------------------------------------------------------------------------------------------


def test_what_no_format_knows_is_answered_with_what_was_looked_for():
    with pytest.raises(UnknownFormat) as caught:
        detect(jsonl({"better": "A", "worse": "B"}))
    text = str(caught.value)
    assert "The first row has: better, worse." in text
    assert all(f"{name}: {module.LOOKS_FOR}" in text for name, module in READERS.items())
    with pytest.raises(UnknownFormat, match="None of the first 20 rows is a JSON object"):
        detect(io.BytesIO(b"plain\ntext"))


def test_names_of_others_can_be_mapped():
    names = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    stream = jsonl({"question": "Q", "better": "A", "worse": "B"}, {"question": "Q", "better": "A"})
    assert detect(stream, names) == "trl"
    row, bad = read(stream, "trl", names)
    assert facts(row) == WON
    assert '"rejected" is missing' in bad.reason


# -- files ---------------------------------------------------------------------------------------------------

ROWS = [{"n": n, "text": f'Wörter\n\\ "{n}" [{{,}}] \u2028 😀'} for n in range(500)]
PLAIN = b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in ROWS)


def parquet(rows) -> bytes:
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()


@pytest.mark.parametrize("chunk", [7, 1 << 18])
@pytest.mark.parametrize(
    "content",
    [
        PLAIN, files.BOM + PLAIN, gzip.compress(PLAIN), gzip.compress(files.BOM + PLAIN), zstandard.compress(PLAIN),
        gzip.compress(PLAIN[: PLAIN.index(b"\n") + 1]) + gzip.compress(PLAIN[PLAIN.index(b"\n") + 1 :]), parquet(ROWS),
        json.dumps(ROWS).encode(), json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
        files.BOM + b" \n" + json.dumps(ROWS).encode(),
        zstandard.compress(json.dumps(ROWS).encode()),
    ],
    ids=["lines", "bom", "gzip", "gzip-bom", "zstd", "gzip-twice", "parquet", "array", "pretty", "array-bom", "array-zstd"],
)  # fmt: skip
def test_rows_of_any_file(content, chunk, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", chunk)
    stream = io.BytesIO(content)
    check_whole(stream)
    assert list(read_objects(stream)) == list(enumerate(ROWS, 1))
    assert list(read_objects(stream)) == list(enumerate(ROWS, 1)), "the same again, from the start"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(PLAIN)[:-20], "gzip file is cut off"),
        (gzip.compress(PLAIN)[:200] + b"xxxx" + gzip.compress(PLAIN)[204:], "gzip file is cut off or damaged"),
        (b"\x28\xb5\x2f\xfdnonsense", "zstd file is cut off or damaged"),
        (b"PAR1 and nothing", "Parquet file is cut off"),
        (parquet(ROWS)[:-50], "Parquet file is cut off"),
    ],
    ids=["gzip-cut", "gzip-damaged", "zstd", "parquet-not", "parquet-cut"],
)
def test_a_broken_file_is_told_before_its_first_row_is_used(content, reason):
    with pytest.raises(FileBroken, match=reason):
        check_whole(io.BytesIO(content))


def test_an_array_that_does_not_end():
    rows = read_objects(io.BytesIO(b'[{"a": 1}, {"a": 2}, {"a": "'))
    assert [next(rows)[1], next(rows)[1]] == [{"a": 1}, {"a": 2}]
    with pytest.raises(FileBroken, match="has no end"):
        next(rows)


def test_a_broken_element_of_an_array_is_named_and_the_rest_read():
    found = list(read_objects(io.BytesIO(b'[{"a": 1}, {"a": x}, 7, {"a": 1, "a": 2}, {"a": 4}]')))
    assert [number for number, _ in found] == [1, 2, 3, 4, 5]
    assert (found[0][1], found[4][1]) == ({"a": 1}, {"a": 4})
    assert [str(bad)[:12] for _, bad in found[1:4]] == ["element 2: N", "element 3: A", "element 4: T"]
    assert "stands there twice" in found[3][1].reason


def test_a_zip_bomb_is_not_unpacked_to_its_end(monkeypatch):
    monkeypatch.setattr(files, "BOMB_BYTES", 1 << 20)
    with pytest.raises(FileBroken, match="more than 200 times its size"):
        check_whole(io.BytesIO(gzip.compress(b"0" * (1 << 24))))


def test_an_element_without_end_is_not_held_in_memory(monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(files, "CHUNK", 100)
    long, short = read_objects(io.BytesIO(b'[{"a": "' + b"x" * 5000 + b'"}, {"a": 2}]'))
    assert "longer than" in long[1].reason
    assert short == (2, {"a": 2})


# -- ours, there and back ------------------------------------------------------------------------------------

TEXTS = [
    "A",
    " B ",
    "Zeile\nzwei\u2028drei",
    'He said "no"\\n',
    "😀 [1,2] {x}",
    "long " * 20_000,
    "Human: no\nAssistant: no",
    "\tc\r\nd",
]


def cases(seed: int):
    """Every outcome with every strength and both orders of the screen, over texts that break things."""
    draw = random.Random(seed)
    answers = [(outcome, strength) for outcome in (FIRST, SECOND) for strength in (1, 2, 3, 4)] + [(TIE, 0), (BOTH_BAD, 0)]
    for (outcome, strength), swapped in product(answers, (False, True)):
        prompt = [{"role": "user", "content": draw.choice(TEXTS)}]
        if draw.random() < 0.5:
            prompt = [
                *prompt,
                {"role": "assistant", "content": draw.choice(TEXTS)},
                {"role": "user", "content": draw.choice(TEXTS)},
            ]
        yield prompt, *draw.sample(TEXTS, 2), outcome, strength, swapped


def there_and_back(name: str, module, items) -> list:
    stream = io.BytesIO()
    with open_compressed(stream, "file.jsonl.gz") as text:
        report = write_rows(module, items, text)
    assert not report.left_out
    assert detect(stream) == name
    found = list(read(stream, name))
    assert not [bad for bad in found if isinstance(bad, BadRow)]
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", JUDGEMENT_WRITERS)
def test_every_answer_comes_back(name, seed):
    given = list(cases(seed))
    judged = [
        JudgedComparison(
            n, prompt, first, second, "m1", "", "train", "train", "",
            (Answer(f"key{n}", "0a1b", outcome, strength, swapped, datetime.now(UTC), 8, 2.5, rationale="why"),),
        )
        for n, (prompt, first, second, outcome, strength, swapped) in enumerate(given)
    ]  # fmt: skip
    found = there_and_back(name, JUDGEMENT_WRITERS[name], judged)
    for row, (prompt, first, second, outcome, strength, swapped) in zip(found, given, strict=True):
        expected = (prompt, first, second, outcome, strength)
        if name == "arena" and swapped:  # A is what stood left
            expected = (prompt, second, first, outcome.swapped, strength)
        assert facts(row) == expected
        assert str(row.meta["annotator"]) in ("0a1b", str(0x0A1B))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in TRIPLE_WRITERS if name in READERS])
def test_every_triple_comes_back(name, seed):
    given = [case for case in cases(seed) if case[3] in (FIRST, SECOND)]
    triples = [
        Triple(prompt, *((one, two) if outcome is FIRST else (two, one)), "train", float(strength), 1.0, n, (n,), None, None)
        for n, (prompt, one, two, outcome, strength, _) in enumerate(given)
    ]
    found = there_and_back(name, TRIPLE_WRITERS[name], triples)
    for row, triple in zip(found, triples, strict=True):
        assert facts(row) == (triple.prompt, triple.chosen, triple.rejected, FIRST, triple.strength)


def test_what_a_transcript_has_no_place_for_is_counted():
    triples = [
        Triple(USER, "A\n\nHuman: B", "B", "train", 1.0, 1.0, 1, (1,), None, None),
        Triple([SYSTEM, *USER], "A", "B", "train", 1.0, 1.0, 2, (2,), None, None),
        Triple(USER, "A", "B", "train", 1.0, 1.0, 3, (3,), None, None),
    ]
    stream = io.StringIO()
    report = write_rows(TRIPLE_WRITERS["hh"], triples, stream)
    assert (report.rows, sum(report.left_out.values())) == (1, 2)
    assert json.loads(stream.getvalue()) == HH


def test_the_rows_that_others_define_are_theirs_to_the_letter():
    triple = Triple(USER, "A", "B", "train", 1.0, 1.0, 3, (3,), None, None)

    def written(name):
        [row] = TRIPLE_WRITERS[name].rows_of(triple)
        return row

    assert written("openai") == OPENAI
    assert written("hh") == HH
    assert written("llama-factory") == {
        "conversations": [{"from": "human", "value": "Q"}],
        "chosen": {"from": "gpt", "value": "A"},
        "rejected": {"from": "gpt", "value": "B"},
        "system": "",
    }


# -- real files ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not DATA.is_dir(), reason="the real rows are not part of the project")
@pytest.mark.parametrize(
    ("name", "format", "count"), [("hh_harmless_pairs", "hh", 1712), ("alpaca_battles", "alpaca-eval", 23788)]
)
def test_real_rows(name, format, count):
    with (DATA / f"{name}.jsonl.gz").open("rb") as stream:
        assert detect(stream) == format
        found = list(read(stream, format))
    bad = [row for row in found if isinstance(row, BadRow)]
    assert len(found) == count
    assert len(bad) < count * 0.03, [str(row) for row in bad[:5]]
