"""Each version of a project against its base, on held-out prompts: `python -m bench.demo.measure PROJECT TASTE`.

Prints one JSON list; `__main__` makes the report of it. The judge is the taste itself, on fresh answers to prompts
that never trained, so this measures what the annotators wanted, not what the trainer optimised.
"""

import json
import os
import statistics
import sys
from typing import Any

import django

ANSWERS = 2  # per prompt and version
KL_ANSWERS = 1
SEED = 20_000


def main(slug: str, taste_name: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from annotate.models import Project
    from bench.demo.tastes import TASTES, win_score
    from training.evaluations.win_rates import win_rate
    from training.generation.sampling import load_policy

    project = Project.objects.get(slug=slug)
    prompts = [prompt.messages for prompt in project.prompts.heldout().order_by("content_hash")]
    versions = list(project.versions.order_by("number"))
    base = load_policy(versions[0].path, serve_dtype=versions[0].serve_dtype)
    rivals = answers_of(base, prompts, project, seed=SEED)
    rows: list[dict[str, Any]] = []
    for version in versions:
        policy = load_policy(version.path, serve_dtype=version.serve_dtype)
        answers = answers_of(policy, prompts, project, seed=SEED + 10_000 * (1 + version.number))
        taste = TASTES[taste_name]
        outcomes = [
            statistics.fmean(win_score(taste, mine.text, theirs.text) for mine, theirs in zip(own, other, strict=True))
            for own, other in zip(answers, rivals, strict=True)
        ]
        rate, low, high = win_rate(outcomes)
        every = [answer for own in answers for answer in own]
        kl, kl_error = distance(policy, base, prompts, project, version.number)
        rows.append(
            {
                "version": f"round {version.number}" if version.number else "base",
                "pairs": version.run.dataset.train_count if version.run else 0,
                "win_rate": rate,
                "win_low": low,
                "win_high": high,
                "words": statistics.fmean(len(answer.text.split()) for answer in every),
                "ended": statistics.fmean(answer.finish_reason == "stop" for answer in every),
                "kl": kl,
                "kl_error": kl_error,
            }
        )
        print(f"  {version}: wins {rate:.0%}", file=sys.stderr, flush=True)
    json.dump(rows, sys.stdout)


def answers_of(policy: Any, prompts: list[Any], project: Any, seed: int) -> list[list[Any]]:
    """ANSWERS fresh answers to each prompt, sampled as the project samples."""
    from training.generation.sampling import Request, sample

    requests = [
        Request(messages, seed + ANSWERS * place + number, project.temperature, project.top_p, project.max_new_tokens)
        for place, messages in enumerate(prompts)
        for number in range(ANSWERS)
    ]
    answers = sample(policy.model, policy.tokenizer, requests)
    return [answers[start : start + ANSWERS] for start in range(0, len(answers), ANSWERS)]


def distance(policy: Any, base: Any, prompts: list[Any], project: Any, number: int) -> tuple[float, float]:
    """KL(π ‖ base) in nats per answer and its standard error; 0 for the base itself."""
    from training.versions.description import kl_estimate

    if number == 0:
        return 0.0, 0.0
    found = kl_estimate(policy, base, prompts * KL_ANSWERS, seed=SEED, max_new_tokens=project.max_new_tokens)
    return found.mean, found.error


if __name__ == "__main__":
    main(*sys.argv[1:])
