"""Of several answers, the best and the worst by implicit reward: log π(y|x) − log π_ref(y|x), π_ref being the reference of the
version's run (β scales all alike). As the best of N in the DPO paper's appendix, and as a source of pairs that differ."""

from collections.abc import Callable, Iterable, Sequence

from annotate.models import Prompt
from training.evaluations.win_rates import win_rate
from training.generation.filling import seed_of
from training.generation.sampling import Policy, Request, Sample, encode_prompt, load_policy, sample, score
from training.models import Version

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


def curve(
    version: Version,
    policy: Policy,
    prompts: Iterable[Prompt],
    judge: Callable[[str, str], float],
    *,
    numbers: Sequence[int] = (1, 2, 4, 8, 16),
    seed: int = 0,
) -> dict[int, tuple[float, float, float]]:
    """For each N, the win rate of the best of N against one answer of the same version, with its 95 % interval over prompts.

    (Rafailov et al., arXiv:2305.18290, appendix D.1: it rises and comes to a plateau.) The best of N is chosen among the
    first N of the same draws; the one answer it meets is another draw. `judge(answer, rival)` says 1, ½ or 0.
    """
    most = max(numbers)
    won: dict[int, list[float]] = {number: [] for number in numbers}
    for prompt in prompts:
        project = prompt.project
        seeds = [seed_of(seed, version.pk, prompt.pk, number) for number in range(most + 1)]
        requests = [Request(prompt.messages, each, project.temperature, project.top_p, project.max_new_tokens) for each in seeds]
        *answers, rival = sample(policy.model, policy.tokenizer, requests)
        if rival.error:
            continue
        rewards = rewards_of(version, policy, prompt, answers)
        for number in numbers:
            best = max(range(number), key=rewards.__getitem__)
            won[number].append(judge(answers[best].text, rival.text))
    return {number: win_rate(values, seed=seed) for number, values in won.items() if values}
