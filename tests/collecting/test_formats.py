"""Files out and in: every answer comes back as it was given; every bad line is named."""

import gzip
import io
import json
import uuid

import pyarrow
import pytest
from pyarrow import parquet

from annotate.consensus.triples import settle
from annotate.formats import prompts, rows, trl
from annotate.formats.rows import BadRow, PreferenceRow, check_text
from annotate.judging.judgements import record_judgement
from annotate.models import Assignment
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_completion, make_prompt


def lines(*given) -> io.BytesIO:
    encoded = (
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode() for line in given
    )
    return io.BytesIO(b"\n".join(encoded))


def exported(project) -> str:
    stream = io.StringIO()
    settlement = settle(project=project)
    assert trl.write(settlement.triples, stream) == len(settlement.triples)
    return stream.getvalue()


# -- the TRL format ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("choice", ["a", "b", "tie", "both_bad"])
@pytest.mark.parametrize("strength", [1, 2, 3, 4])
def test_what_was_clicked_comes_back_from_the_file(project, annotator, choice, swapped, strength):
    """Click → row → export → re-import: the answer that was on the clicked side is the better one again."""
    project.grades = 8
    prompt = make_prompt(project, "Wörter\u2028and “signs”?")
    first, second = (make_completion(prompt, text) for text in ("Erste\nAntwort — 1", ' Zweite "Antwort" \u2028 '))
    make_comparison(project, prompt, first=first, second=second)
    lease = claim_comparison(project=project, annotator=annotator)
    Assignment.objects.update(swapped=swapped)
    on_screen = {"a": second.text, "b": first.text} if swapped else {"a": first.text, "b": second.text}
    judgement = record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice=choice, strength=strength)
    read = list(trl.read(io.BytesIO(exported(project).encode())))
    if choice in on_screen:
        better = on_screen.pop(choice)
        [worse] = on_screen.values()
        meta = {"weight": 1.0, "id": lease.comparison_id, "judgements": [judgement.pk]}
        assert read == [PreferenceRow(1, prompt.messages, better, worse, "first", float(strength), meta)]
    else:
        assert read == []
        assert settle(project=project).counts[choice] == 1


def test_the_row_is_trls(project, annotator):
    comparison = make_comparison(project, make_prompt(project, "Q"))
    lease = claim_comparison(project=project, annotator=annotator)
    Assignment.objects.update(swapped=False)
    judgement = record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")
    assert json.loads(exported(project)) == {
        "prompt": [{"role": "user", "content": "Q"}],
        "chosen": [{"role": "assistant", "content": comparison.first.text}],
        "rejected": [{"role": "assistant", "content": comparison.second.text}],
        "margin": 1.0,
        "weight": 1.0,
        "chosen_truncated": False,
        "rejected_truncated": False,
        "id": comparison.pk,
        "judgements": [judgement.pk],
    }


def test_writing_streams():
    class Full(io.StringIO):
        def write(self, text):
            if self.tell() > 2000:
                raise OSError("disk full")
            return super().write(text)

    taken = []

    def endless():
        from annotate.consensus.triples import Triple

        while True:
            taken.append(1)
            yield Triple([{"role": "user", "content": "Q"}], "A", "B", "train", 1.0, 1.0, 1, (1,), None, None)

    with pytest.raises(OSError, match="disk full"):
        trl.write(endless(), Full())
    assert len(taken) < 30


USER = [{"role": "user", "content": "Q"}]
GOOD = {
    "prompt": USER,
    "chosen": [{"role": "assistant", "content": "A"}],
    "rejected": [{"role": "assistant", "content": "B"}],
}
BAD_TRIPLES = [
    ({**GOOD, "prompt": "Q"}, "Plain texts and messages are mixed"),
    ({**GOOD, "chosen": "A", "rejected": "B"}, "Plain texts and messages are mixed"),
    (
        {"chosen": [*USER, *GOOD["chosen"]], "rejected": [{**USER[0], "content": "R"}, *GOOD["rejected"]]},
        "differ before the last",
    ),
    ({"chosen": [*USER, *GOOD["chosen"]], "rejected": USER}, "rejected does not end with the assistant's message"),
    ({"chosen": "A", "rejected": "B"}, "share (the prompt) is empty"),
    ({"chosen": "Q: A", "rejected": "Q: A"}, "after what both share, is empty"),
    ({"prompt": USER, "chosen": GOOD["chosen"]}, '"rejected" is missing'),
    ({**GOOD, "chosen": []}, "chosen is not one assistant message"),
    ({**GOOD, "rejected": [*GOOD["rejected"], *GOOD["rejected"]]}, "rejected is not one assistant message"),
    ({**GOOD, "rejected": USER}, "rejected is not one assistant message"),
    ({**GOOD, "chosen": [{"role": "assistant", "content": " "}]}, "chosen is empty"),
    ({**GOOD, "chosen": [{"role": "assistant"}]}, "chosen is not a text"),
    ({**GOOD, "prompt": [*USER, *GOOD["chosen"]]}, "does not end with the user's message"),
    ({**GOOD, "margin": "2"}, "margin is not a number"),
    ({**GOOD, "margin": float("nan")}, "margin is not a number"),
    ({**GOOD, "weight": -1}, "weight is not a number"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_TRIPLES)
def test_a_triple_that_cannot_be_read_is_named_and_the_rest_read(row, reason):
    before, bad, after = trl.read(lines(GOOD, row, GOOD))
    assert (before.line, bad.line, after.line) == (1, 2, 3)
    assert isinstance(bad, BadRow)
    assert reason in bad.reason
    assert bad.next_step


# -- prompts -----------------------------------------------------------------------------------------------

SYSTEM = {"role": "system", "content": "Be brief."}
GOOD_PROMPTS = [
    ({"prompt": "Q"}, USER),
    ({"instruction": "Q"}, USER),
    ({"question": "Q"}, USER),
    ({"messages": USER}, USER),
    ({"prompt": USER}, USER),
    ({"messages": [{**USER[0], "name": "kim"}]}, USER),
    ({"prompt": "Q", "system": "Be brief."}, [SYSTEM, *USER]),
    ({"prompt": "Q", "system": ""}, USER),
    ({"messages": [SYSTEM, *USER]}, [SYSTEM, *USER]),
    ({"messages": USER, "system": "Be brief."}, [SYSTEM, *USER]),
    ({"messages": [*USER, *GOOD["chosen"], *USER]}, [*USER, *GOOD["chosen"], *USER]),
    ({"instruction": "Translate.", "input": "Hallo"}, [{"role": "user", "content": "Translate.\n\nHallo"}]),
    ({"instruction": "Q", "input": ""}, USER),
]


@pytest.mark.parametrize(("row", "messages"), GOOD_PROMPTS)
def test_each_form_of_a_prompt(row, messages):
    [read] = prompts.read(lines(row))
    assert read.messages == messages


def test_tags_and_id():
    [one, two] = prompts.read(lines({"prompt": "Q", "tags": ["x", "y"], "id": 7}, {"prompt": "Q", "tags": None}))
    assert (one.tags, one.id, two.tags, two.id) == (["x", "y"], "7", [], "")


BAD_PROMPTS = [
    ("{nonsense", "Not JSON"),
    ('{"prompt": "Q"', "Not JSON"),
    (b'{"prompt": "\xe4"}', "Not UTF-8 text: byte 13 of the line is 0xe4"),
    ('["Q"]', "A list instead of an object"),
    ('"Q"', "A text instead of an object"),
    ("null", "null instead of an object"),
    ("true", "true or false instead of an object"),
    ("1" * 5000, "Not JSON that can be read"),
    ("[" * 100_000, "Not JSON that can be read"),
    ({}, "There is no prompt"),
    ({"prompt": " \n"}, "prompt is empty"),
    ({"prompt": None}, "prompt is not a list of messages"),
    ({"messages": []}, "messages is not a list of messages"),
    ({"messages": ["Q"]}, "Message 1 of messages lacks a role or content"),
    ({"messages": [{"role": "user"}]}, "Message 1 of messages lacks a role or content"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]}, "Message 1 of messages is not a text"),
    ({"messages": [*USER, *GOOD["chosen"]]}, "does not end with the user's message"),
    ({"messages": [SYSTEM]}, "does not end with the user's message"),
    ({"messages": GOOD["chosen"]}, "Turn 1 of messages has the role 'assistant' where 'user' is due"),
    ({"messages": [*USER, *USER]}, "Turn 2 of messages has the role 'user' where 'assistant' is due"),
    ({"messages": [SYSTEM, SYSTEM, *USER]}, "Turn 1 of messages has the role 'system'"),
    ({"messages": [{"role": ["user"], "content": "Q"}]}, "Turn 1 of messages has the role ['user']"),
    ({"messages": [SYSTEM, *USER], "system": "Other."}, "two system messages"),
    ({"prompt": "Q", "system": 3}, "system is not a text"),
    ({"prompt": "x" * 20_001}, "20,001 characters"),
    ({"prompt": "Q", "system": "x" * 20_000}, "20,001 characters"),
    ({"prompt": "nul \0"}, "cannot be stored"),
    ('{"prompt": "half \\ud83d"}', "cannot be stored"),
    ({"prompt": "Q", "tags": "x"}, "tags is not a list"),
    ({"prompt": "Q", "tags": [1]}, "A tag is not a text"),
    ({"prompt": "Q", "tags": ["x" * 51]}, "A tag is longer"),
    ({"prompt": "Q", "id": [1]}, "id is neither"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_PROMPTS, ids=[reason for _, reason in BAD_PROMPTS])
def test_a_prompt_that_cannot_be_read_is_named_and_the_rest_read(row, reason):
    before, bad, after = prompts.read(lines({"prompt": "1"}, row, "", {"prompt": "2"}))
    assert (before.line, bad.line, after.line) == (1, 2, 4)
    assert isinstance(bad, BadRow)
    assert reason in bad.reason
    assert bad.next_step
    assert str(bad).startswith("line 2: ")


def test_the_longest_prompt_that_is_allowed():
    [row] = prompts.read(lines({"prompt": "x" * 20_000}))
    assert len(row.messages[0]["content"]) == 20_000


def test_a_byte_order_mark_and_windows_line_ends():
    read = list(prompts.read(io.BytesIO(b'\xef\xbb\xbf{"prompt": "Q"}\r\n\r\n{"prompt": "Q"}')))
    assert [(row.line, row.messages) for row in read] == [(1, USER), (3, USER)]


def test_a_line_without_end_is_not_held_in_memory(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 1000)
    for length in (1001, 1002, 1999, 2000, 2001, 2002, 2003, 3000):
        good, long, after = prompts.read(lines({"prompt": "Q"}, "x" * length, {"prompt": "Q"}))
        assert (good.line, long.line, after.line) == (1, 2, 3), length
        assert "longer than" in long.reason
        assert after.messages == USER
    [exact] = prompts.read(lines('{"prompt": "Q"}' + " " * 985))
    assert exact.messages == USER


def test_an_empty_file():
    assert list(prompts.read(lines())) == []


# -- prompts in other files ----------------------------------------------------------------------------------


def texts_of(content: bytes) -> list:
    read = prompts.read(io.BytesIO(content))
    return [row.reason if isinstance(row, BadRow) else [message["content"] for message in row.messages] for row in read]


def test_prompts_as_plain_text():
    content = "Why?\r\n\r\n  Wörter, and “signs”: one; two\n".encode()
    for packed in (content, rows.BOM + content, gzip.compress(content)):
        assert texts_of(packed) == [["Why?"], ["  Wörter, and “signs”: one; two"]]
    assert texts_of(b"Why?\n\xe4\nWhat?")[1].startswith("Not UTF-8 text: byte 1")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_prompts_as_csv(delimiter):
    lines = [
        ["id", "Prompt", "system", "tags"], ["7", '"Say ""no"",\n\nplease; now"', "", '"x, y"'], ["8", "What?", "Be brief.", ""],
    ]  # fmt: skip
    one, two = prompts.read(io.BytesIO("\n".join(delimiter.join(line) for line in lines).encode()))
    assert (one.line, one.id, one.tags) == (2, "7", ["x", "y"])
    assert [message["content"] for message in one.messages] == ['Say "no",\n\nplease; now']
    assert (two.line, two.messages) == (5, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}])


def test_a_stray_quote_costs_its_own_line_alone():
    bad = b'id,prompt\n1,one\n2,"two\n3,three\n4,"four" or not\n5,"five"\n6,six,seven\n7,\n8,eight'
    found = texts_of(bad)
    assert found[0] == ["one"] and found[-1] == ["eight"]
    assert found[1] == "A quote is opened and never closed."
    assert found[2:] == [["three"], *found[3:]] and found[3].startswith("Not CSV") and found[4] == ["five"]
    assert found[5] == "It has 3 cells where the header has 2." and found[6] == "prompt is empty."


def test_prompts_as_an_array_and_as_parquet():
    given = [{"prompt": "One?", "tags": ["x"]}, {"messages": USER}]
    assert texts_of(json.dumps(given).encode()) == [["One?"], ["Q"]]
    stream = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_pylist([{"messages": None, "prompt": "One?"}, {"messages": USER, "prompt": None}]), stream
    )
    assert texts_of(stream.getvalue()) == [["One?"], ["Q"]]


def test_an_answer_that_shows_nothing_is_an_answer():
    """Five of AlpacaEval's battles were lost by a model that said a zero-width space alone: leaving them out would flatter it."""
    assert check_text("\u200b", "output_2") == "\u200b"
