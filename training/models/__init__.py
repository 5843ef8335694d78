"""The rows of the training half: one file per noun (see docs/architecture.md for the words)."""

from .dataset import Dataset
from .endpoint import Endpoint
from .evaluation import Evaluation, EvaluationPair
from .generation import Generation
from .inquiry import Inquiry
from .leaderboard import Leaderboard
from .machine import Machine
from .run import Run, RunEvent
from .scoring import Score, Scoring
from .version import Promotion, Version

__all__ = [
    "Dataset", "Endpoint", "Evaluation", "EvaluationPair", "Generation", "Inquiry", "Leaderboard", "Machine", "Promotion", "Run",
    "RunEvent", "Score", "Scoring", "Version",
]  # fmt: skip
