"""The best of N answers by implicit reward against one: `python -m bench.best_of PROJECT VERSION TASTE [PROMPTS]`.

A script is the judge. On a project that is there (`make demo` leaves one, with versions that were taught a taste): held-out
prompts, sampled as the project samples. The win rate should rise with N and come to a plateau.
"""

import os
import sys

import django
from tqdm import tqdm


def main(slug: str, number: str, taste_name: str, prompts: str = "24") -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from annotate.models import Project
    from bench.demo.tastes import TASTES, win_score
    from training.generation.sampling import load_policy
    from training.rewards.best_of import curve

    project = Project.objects.get(slug=slug)
    version = project.versions.select_related("run__reference").get(number=number)
    chosen = list(project.prompts.heldout().select_related("project").order_by("content_hash")[: int(prompts)])
    policy = load_policy(version.path, serve_dtype=version.serve_dtype)
    bar = tqdm(chosen, desc="prompts", unit="prompt")
    found = curve(version, policy, bar, lambda answer, rival: win_score(TASTES[taste_name], answer, rival))
    print(f"{version} of {slug}, {len(chosen)} prompts, taste “{taste_name}”")
    for n, (rate, low, high) in found.items():
        print(f"  best of {n:>2}: {rate:.0%} ({low:.0%} to {high:.0%})")


if __name__ == "__main__":
    main(*sys.argv[1:])
