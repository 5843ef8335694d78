"""Of several answers, the best and the worst by implicit reward: log π(y|x) − log π_ref(y|x), π_ref being the reference of the
version's run (β scales all alike). As the best of N in the DPO paper's appendix, and as a source of pairs that differ."""

from collections.abc import Sequence

from annotate.models import Prompt
from training.models import Version
from training.sampling import Policy, Request, Sample, encode_prompt, load_policy, score

Drawn = tuple[Request, Sample]


def rewards_of(version: Version, policy: Policy, prompt: Prompt, answers: Sequence[Sample]) -> list[float]:
    """Implicit rewards over β, in nats. `policy` is the version in memory; its reference is loaded."""
    reference = version.run.reference
    against = load_policy(reference.path, serve_dtype=reference.serve_dtype)
    pairs = [(encode_prompt(policy.tokenizer, prompt.messages), answer.token_ids) for answer in answers]
    mine, theirs = score(policy.model, pairs), score(against.model, pairs)
    return [ours - other for ours, other in zip(mine, theirs, strict=True)]


def best_by_reward(version: Version, policy: Policy, prompt: Prompt, drawn: Sequence[Drawn]) -> Drawn:
    rewards = rewards_of(version, policy, prompt, [answer for _, answer in drawn])
    return drawn[max(range(len(drawn)), key=rewards.__getitem__)]


def best_and_worst(version: Version, policy: Policy, prompt: Prompt, drawn: Sequence[Drawn]) -> list[Drawn]:
    """In the order in which they were drawn, so that the place of a stored answer does not tell which it is.

    An empty answer is none of them. With fewer than two left, what there is.
    """
    good = [each for each in drawn if each[1].text.strip()]
    if len(good) < 2:
        return list(drawn[:2])
    rewards = rewards_of(version, policy, prompt, [answer for _, answer in good])
    places = sorted(range(len(good)), key=rewards.__getitem__)
    return [good[place] for place in sorted({places[0], places[-1]})]
