"""The playground: ask one or two versions, and make what they answered a comparison. A worker writes: `answers`."""

import random
from typing import Any

from django.db import transaction

from annotate.models import Comparison, Completion, Project, Prompt, User
from annotate.models.comparison import Purpose
from annotate.models.prompt import Split, content_hash
from training import tasks
from training.models import Tryout
from training.models.job import JobState

ASKED = ("messages", "first", "second", "temperature", "top_p", "max_new_tokens")
LARGEST_SEED = 2**31 - 1
WORKER_GONE = "The worker that wrote this is gone: it was killed, or its machine went down. What is there stays. Ask again."


class NoComparison(Exception):
    """It cannot become a comparison; the text says why."""


@transaction.atomic
def try_out(*, project: Project, by: User, **asked: Any) -> Tryout:
    """Queued; `asked`: messages, versions and how to sample."""
    tryout = Tryout.objects.create(project=project, by=by, **asked)
    tasks.answer_tryout.enqueue(tryout.pk)
    return tryout


def ask_again(*, tryout: Tryout, by: User) -> Tryout:
    """The same, with a seed by chance: what was asked once can be asked again, however it ended."""
    asked = {name: getattr(tryout, name) for name in ASKED}
    return try_out(project=tryout.project, by=by, **asked, seed=seed_by_chance())


def seed_by_chance() -> int:
    return random.SystemRandom().randrange(LARGEST_SEED)


@transaction.atomic
def make_comparison(*, tryout: Tryout) -> Comparison:
    """The two answers in the queue, before all others, in an order by chance. Twice gives the same one. Raises NoComparison."""
    tryout = Tryout.objects.select_for_update(no_key=True, of=("self",)).select_related("project", "comparison").get(pk=tryout.pk)
    if tryout.comparison:
        return tryout.comparison
    _check(tryout)
    project, digest = tryout.project, content_hash(tryout.messages)
    prompt, _ = Prompt.objects.get_or_create(
        project=project, content_hash=digest,
        defaults={"messages": tryout.messages, "split": Split.of(digest), "source": "playground"},
    )  # fmt: skip
    sides = [_completion(tryout, prompt, "first"), _completion(tryout, prompt, "second")]
    random.SystemRandom().shuffle(sides)
    highest = project.comparisons.open().order_by("-priority").values_list("priority", flat=True).first() or 0.0
    tryout.comparison = Comparison.objects.create(
        project=project, prompt=prompt, first=sides[0], second=sides[1], purpose=Purpose.TRAIN, priority=highest + 1,
        judgements_required=project.judgements_required, free_places=project.judgements_required,
    )  # fmt: skip
    tryout.save(update_fields=["comparison"])
    return tryout.comparison


def _check(tryout: Tryout) -> None:
    if tryout.second_id is None or tryout.state != JobState.DONE:
        raise NoComparison("A comparison needs two whole answers. Ask two versions, and wait until both have ended.")
    texts = tryout.first_text.strip(), tryout.second_text.strip()
    if not all(texts):
        raise NoComparison("One of the answers is empty. Ask again, with another seed.")
    if texts[0] == texts[1]:
        raise NoComparison("Both answers are the same. Ask again, with another seed or a higher temperature.")


def _completion(tryout: Tryout, prompt: Prompt, side: str) -> Completion:
    told = tryout.told[side]
    return Completion.objects.create(
        prompt=prompt, version_id=getattr(tryout, f"{side}_id"), text=getattr(tryout, f"{side}_text"),
        temperature=tryout.temperature, top_p=tryout.top_p, max_new_tokens=tryout.max_new_tokens, seed=told["seed"],
        dtype=told["dtype"], token_count=told["tokens"], finish_reason=told["finish_reason"], logprob=told["logprob"],
    )  # fmt: skip
