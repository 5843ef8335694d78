"""The rows of the training half: one file per noun (see docs/architecture.md for the words)."""

from .ai_annotator import AiAnnotator, AiScore, AiVerdict, Rubric, Sitting
from .dataset import Dataset
from .endpoint import Endpoint
from .evaluation import Evaluation, EvaluationPair
from .file_import import FileImport
from .generation import Generation
from .inquiry import Inquiry
from .leaderboard import Leaderboard
from .machine import Machine
from .preview import PreviewBlock, PreviewCount
from .run import Run, RunEvent
from .scoring import Score, Scoring
from .tryout import Tryout
from .version import Promotion, Version, VersionAlias

__all__ = [
    "AiAnnotator",
    "AiScore",
    "AiVerdict",
    "Dataset",
    "Endpoint",
    "Evaluation",
    "EvaluationPair",
    "FileImport",
    "Generation",
    "Inquiry",
    "Leaderboard",
    "Machine",
    "PreviewBlock",
    "PreviewCount",
    "Promotion",
    "Rubric",
    "Run",
    "RunEvent",
    "Score",
    "Scoring",
    "Sitting",
    "Tryout",
    "Version",
    "VersionAlias",
]
