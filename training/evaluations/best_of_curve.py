"""How much a version gains when it gives the best of N answers by its own implicit reward, against one answer of its own.

(Rafailov et al., arXiv:2305.18290, appendix D.1: the win rate rises with N and comes to a plateau.) Each N is a blind evaluation
like any other; this puts them side by side.
"""

from dataclasses import dataclass

from annotate.models import User
from training.evaluations.ordering import EvaluationRefused, start_evaluation
from training.evaluations.pictures import WinShare, share_of
from training.models import Evaluation, Version
from training.models.evaluation import Verdict
from training.models.job import JobState

NUMBERS = (2, 4, 8, 16)  # of 1 against 1 the win rate is one half


@dataclass(frozen=True)
class Point:
    number: int
    evaluation: Evaluation | None  # the newest of them
    share: WinShare | None  # None before anything has been judged

    @property
    def judged(self) -> int:
        return self.evaluation.figures.get("prompts", 0) if self.evaluation else 0


def curve_of(version: Version) -> list[Point]:
    """A point for each of NUMBERS. One query."""
    found = version.project.evaluations.filter(candidate=version, opponent=version, best_of__in=NUMBERS)
    newest = {each.best_of: each for each in found.select_related("candidate", "opponent", "project").order_by("number")}
    return [Point(n, newest.get(n), share_of(newest[n]) if n in newest else None) for n in NUMBERS]


def missing(curve: list[Point]) -> list[int]:
    """The numbers to ask for: those never asked, that failed, or that somebody ended."""
    return [point.number for point in curve if point.evaluation is None or _came_to_nothing(point.evaluation)]


def start_curve(*, version: Version, by: User | None = None, prompts: int | None = None) -> list[Evaluation]:
    """The evaluations that are missing, queued. Raises EvaluationRefused: of a base model, say, or if none is missing."""
    asked = missing(curve_of(version))
    if not asked:
        raise EvaluationRefused(f"The best of {', '.join(map(str, NUMBERS))} of {version} are being judged, or have been.")
    return [start_evaluation(candidate=version, opponent=version, by=by, prompts=prompts, best_of=number) for number in asked]


def _came_to_nothing(evaluation: Evaluation) -> bool:
    return evaluation.state in (JobState.FAILED, JobState.CANCELLED) or evaluation.verdict == Verdict.STOPPED
