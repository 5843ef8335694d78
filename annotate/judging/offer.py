"""What an annotator can answer to a pair: one row from "A significantly better" to "B significantly better"."""

from dataclasses import dataclass

from annotate.models import Judgement, Project
from annotate.models.judgement import Outcome
from annotate.models.project import Rationale
from annotate.models.scale import Grades

SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class Offer:
    """One button. `value` is what a form sends: a choice, and on a graded scale its strength ("a3")."""

    value: str
    side: str  # "a", "b", or "" for neither
    label: str
    keys: tuple[str, ...]  # the first is shown
    needs_why: bool = False  # a reason must come with it

    @property
    def shown_keys(self) -> list[str]:
        return [{"ArrowLeft": "←", "ArrowRight": "→"}.get(key, key.upper()) for key in self.keys]

    @property
    def how_much(self) -> str:
        """Of "A significantly better" what a phone has room for: "significantly"."""
        return self.label.split()[1]

    @property
    def how_much_more(self) -> str:
        return " ".join(self.label.split()[2:])

    @property
    def shown_key(self) -> str:
        return self.shown_keys[0]


TWO_GRADES_KEYS = {"a": ("ArrowLeft", "1"), "b": ("ArrowRight", "2")}
VALUES = [*SIDES, *(f"{side}{strength}" for side in SIDES for strength in range(1, max(Grades) // 2 + 1)), "tie", "both_bad"]


def read_value(value: str) -> tuple[str, int | None]:
    """The choice and the strength that a button's value stands for: "a3" → ("a", 3); "tie" → ("tie", None)."""
    return (value[0], int(value[1:])) if value[1:].isdigit() else (value, None)


def offers_of(*, project: Project, grades: Grades, every: bool = False) -> list[Offer]:
    """The row, from left to right. The ends are the strongest; what says neither stands in the middle.

    With `every`, a tie and both bad are in it whatever the project offers its annotators.
    """
    two = grades == Grades.TWO
    strengths = range(1, grades.strengths + 1)
    asks = project.rationale == Rationale.STRONG
    left = [_graded("a", strength, grades, 1 + grades.strengths - strength, asks) for strength in reversed(strengths)]
    right = [_graded("b", strength, grades, grades.strengths + strength, asks) for strength in strengths]
    middle = []
    if project.allows_tie or every:
        middle.append(Offer("tie", "", "Tie", ("t", "3") if two else ("t",)))
    if project.allows_both_bad or every:
        middle.append(Offer("both_bad", "", "Both bad", ("x", "4") if two else ("x",)))
    return left + middle + right


def _graded(side: str, strength: int, grades: Grades, number: int, asks: bool) -> Offer:
    label, needs_why = _label(side, strength, grades), asks and strength == grades.strengths
    if grades == Grades.TWO:
        return Offer(side, side, label, TWO_GRADES_KEYS[side], needs_why)
    return Offer(f"{side}{strength}", side, label, (str(number),), needs_why)


def _label(side: str, strength: int, grades: Grades) -> str:
    return f"{side.upper()} {'is ' if grades == Grades.TWO else ''}{grades.words(strength)}"


def answer_in_words(judgement: Judgement) -> str:
    """A judgement as its annotator clicked it: "A slightly better", "Tie"."""
    outcome, assignment = Outcome(judgement.outcome), judgement.assignment
    shown = outcome.swapped if assignment.swapped else outcome
    return outcome_in_words(shown, judgement.strength, Grades(assignment.grades))


def side_of(judgement: Judgement) -> str:
    """ "a" or "b" as its annotator saw them, or "" for neither."""
    outcome = Outcome(judgement.outcome)
    shown = outcome.swapped if judgement.assignment.swapped else outcome
    return {Outcome.FIRST: "a", Outcome.SECOND: "b"}.get(shown, "")


def outcome_in_words(outcome: Outcome, strength: int, grades: Grades) -> str:
    """With the first answer as A and the second as B: "B slightly better", "Both bad"."""
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        return "Tie" if outcome == Outcome.TIE else "Both bad"
    return _label("a" if outcome == Outcome.FIRST else "b", min(strength, grades.strengths), grades)
