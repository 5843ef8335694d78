"""Edited answers: the better answer, improved by hand into what its reader would have wanted."""

from annotate.judging.refusals import JudgementRefused
from annotate.models import Assignment
from annotate.models.judgement import Outcome
from annotate.queue.claims import storable

MAX_EDIT = 50_000  # characters


def read_edit(text: object, *, assignment: Assignment, outcome: Outcome) -> str:
    """The text to store: "" when nothing was written, or when it is the answer as it was. Raises JudgementRefused."""
    if not isinstance(text, str) or len(text) > MAX_EDIT:
        raise _refused("invalid_edit", f"Keep the edited answer under {MAX_EDIT:,} characters.")
    text = storable(_plain(text))
    if not text:
        return ""
    if not assignment.comparison.project.allows_edit:
        raise _refused("no_edits", "This project does not, or no longer, let answers be edited. Send the judgement without.")
    if outcome not in (Outcome.FIRST, Outcome.SECOND):
        raise _refused("edit_of_neither", "An edit improves the better answer: choose a side, or discard the edit.")
    better = assignment.comparison.first if outcome == Outcome.FIRST else assignment.comparison.second
    return "" if text == _plain(better.text) else text


def _plain(text: str) -> str:
    """As a text area gives it back, without white space at its ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _refused(code: str, message: str) -> JudgementRefused:
    return JudgementRefused(code, message, {"edited_text": [message]})
