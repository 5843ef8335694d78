"""The rows of the training half: one file per noun (see docs/architecture.md for the words)."""

from .dataset import Dataset
from .endpoint import Endpoint
from .evaluation import Evaluation, EvaluationPair
from .generation import Generation
from .run import Run, RunEvent
from .version import Promotion, Version

__all__ = ["Dataset", "Endpoint", "Evaluation", "EvaluationPair", "Generation", "Promotion", "Run", "RunEvent", "Version"]
