"""The rows of the collecting half: one file per noun (see docs/architecture.md for the words)."""

from .assignment import Assignment
from .comparison import Comparison
from .completion import Completion
from .exclusion import Exclusion
from .gold import GoldAnswer
from .guidelines import GuidelinesEdition
from .handout import Handout
from .invitation import Invitation
from .judgement import Judgement
from .pair_count import PairCount
from .people import SignInLink, User
from .preference_import import PreferenceImport
from .project import Membership, Project
from .prompt import Prompt
from .quality import QualityBlock, QualityCount
from .rating import Rating
from .reliability import ReliabilityEstimate
from .review import Decision, Dispute
from .sent_once import SentOnce
from .token import Token
from .webhook import Delivery, Webhook

__all__ = [
    "Assignment",
    "Comparison",
    "Completion",
    "Decision",
    "Delivery",
    "Dispute",
    "Exclusion",
    "GoldAnswer",
    "GuidelinesEdition",
    "Handout",
    "Invitation",
    "Judgement",
    "Membership",
    "PairCount",
    "PreferenceImport",
    "Project",
    "Prompt",
    "QualityBlock",
    "QualityCount",
    "Rating",
    "ReliabilityEstimate",
    "SentOnce",
    "SignInLink",
    "Token",
    "User",
    "Webhook",
]
