"""What a version's page shows of its implicit rewards."""

from typing import Any

from training.models import Version
from training.rewards.implicit import contradictions, has_rewards, unscored

MOST_COUNTED = 1000  # pairs that it has not scored; beyond, their number is not told
NEWEST = 6


def reward_card(version: Version) -> dict[str, Any]:
    """Few queries; the accuracies are those of the last scoring."""
    if not has_rewards(version):
        return {"reward_card": None}
    scorings = version.scorings.select_related("project").order_by("-pk")
    newest = scorings.first()
    done = scorings.filter(state="done").first()
    against = sorted(contradictions(version), reverse=True) if done else []
    return {
        "reward_card": {
            "newest": newest,
            "at_work": newest is not None and not newest.is_over,
            "done": done,
            "unscored": unscored(version).order_by()[:MOST_COUNTED].count(),
            "many": MOST_COUNTED,
            "against": len(against),
            "against_newest": against[:NEWEST],
        }
    }
