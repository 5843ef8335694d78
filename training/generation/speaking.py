"""How whatever answers here is asked: an endpoint over the network, a version's weights in memory; the same words for both."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from training.endpoints.chat import Client, Question, Reply
from training.endpoints.errors import PromptRefused
from training.endpoints.pool import ask_all
from training.endpoints.probe import ensure_tested
from training.models import Endpoint, Version

Ask = Callable[[Sequence[Question]], Iterator[tuple[int, Reply | PromptRefused]]]


@contextmanager
def speaking(source: Endpoint | Version, pulse: Callable[[], None] = lambda: None) -> Iterator[Ask]:
    """Raises ModelError or EndpointError. torch is only loaded for a version's weights."""
    if isinstance(source, Version) and source.endpoint:
        source = source.endpoint
    if isinstance(source, Endpoint):
        with Client(ensure_tested(source)) as client:
            yield lambda questions: ask_all(client, questions, pulse=pulse)
    else:
        from training.generation.local_chat import answer_all
        from training.generation.sampling import load_policy

        policy = load_policy(source.path, serve_dtype=source.serve_dtype)
        yield lambda questions: answer_all(policy, questions, pulse=pulse)
