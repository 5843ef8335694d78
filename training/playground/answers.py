"""A worker answers in the playground: both versions write at once, and their texts are stored as they grow."""

import time
from collections.abc import Callable, Iterator
from itertools import zip_longest

from training.generation.sampling import Policy, Request, Sample, load_policy, stream
from training.models import Tryout, Version
from training.worker import jobs
from training.worker.seeing_through import see_through
from training.worker.stopping import Stopped

STORE_SECONDS = 0.4  # between two looks that a page can have at it


def answer(tryout_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the tryout and answer. Does nothing if it is not queued. `check` is called before each token."""

    def work(tryout: Tryout) -> None:
        try:
            _write(tryout, check)
        except (Stopped, KeyboardInterrupt, SystemExit) as stop:  # nobody takes it up again: who asked sits before the page
            jobs.fail(job=tryout, error="The worker was stopped while it wrote. Ask again.")
            if not isinstance(stop, Stopped):
                raise

    see_through(kind=Tryout, pk=tryout_id, work=work, advice="Ask again.")


def _write(tryout: Tryout, check: Callable[[], None]) -> None:
    sides = {"first": tryout.first, "second": tryout.second}
    policies = {side: _load(version) for side, version in sides.items() if version}
    streams = {side: _stream(tryout, policy, place) for place, (side, policy) in enumerate(policies.items())}
    found: dict[str, Sample] = {}
    stored = time.monotonic()
    for now in zip_longest(*streams.values()):
        check()
        found |= {side: sample for side, sample in zip(streams, now, strict=True) if sample is not None}
        if time.monotonic() - stored >= STORE_SECONDS:
            stored = time.monotonic()
            if jobs.heartbeat(job=tryout, **_texts(found)):
                return jobs.cancelled(job=tryout, **_texts(found))
    if refused := [sample.error for sample in found.values() if sample.error]:
        return jobs.fail(job=tryout, error=refused[0])
    told = {
        side: {
            "tokens": sample.token_count, "finish_reason": sample.finish_reason, "logprob": sample.logprob,
            "dtype": policies[side].dtype, "seed": tryout.seed + place,
        }
        for place, (side, sample) in enumerate(found.items())
    }  # fmt: skip
    jobs.finish(job=tryout, told=told, **_texts(found))


def _load(version: Version) -> Policy:
    return load_policy(version.path, serve_dtype=version.serve_dtype)


def _stream(tryout: Tryout, policy: Policy, place: int) -> Iterator[Sample]:
    """Each side has a seed of its own: the same version twice gives two answers."""
    request = Request(tryout.messages, tryout.seed + place, tryout.temperature, tryout.top_p, tryout.max_new_tokens)
    return stream(policy.model, policy.tokenizer, request)


def _texts(found: dict[str, Sample]) -> dict[str, str]:
    return {f"{side}_text": sample.text for side, sample in found.items()}
