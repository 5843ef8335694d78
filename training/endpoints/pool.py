"""Ask an endpoint many questions: so many at once and so many a minute as it allows.

Threads only talk to the server. The database (the rate limit, heartbeats, what is stored) is the caller's thread's alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue

from django.db import transaction
from django.utils import timezone

from training.endpoints.chat import Client, Question, Reply
from training.endpoints.errors import EndpointError, PromptRefused
from training.models import Endpoint

BEAT = 0.5  # seconds between two calls of `pulse` while nothing comes


def ask_all(
    client: Client, questions: Sequence[Question], *, pulse: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, Reply | PromptRefused]]:
    """Yields (place of the question, its reply or why it alone was refused), as they come.

    When the endpoint itself fails (EndpointError), nothing more is asked, what is under way is still yielded, and then
    the error is raised, with what it has cost. `pulse` is called at least every half second: to stop at once by raising.
    """
    waiting = deque(enumerate(questions))
    todo: SimpleQueue[tuple[int, Question] | None] = SimpleQueue()
    done: SimpleQueue[tuple[int, Reply | Exception]] = SimpleQueue()
    threads = min(client.endpoint.concurrency, len(waiting))
    for _ in range(threads):
        # Daemons: a worker that is told to end does not wait for a server that hangs.
        threading.Thread(target=_work, args=(client, todo, done), daemon=True).start()
    at_work, slot, failure = 0, None, None
    try:
        while waiting or at_work:
            pulse()
            pause = BEAT
            while waiting and at_work < threads:
                slot = slot or reserve_slot(client.endpoint)
                pause = min(BEAT, (slot - timezone.now()).total_seconds())
                if pause > 0:
                    break
                todo.put(waiting.popleft())
                at_work, slot, pause = at_work + 1, None, BEAT
            try:
                place, result = done.get(timeout=pause)
            except Empty:
                continue
            at_work -= 1
            if isinstance(result, Reply | PromptRefused):
                yield place, result
            else:
                failure = _with_what_it_cost(failure, result)
                waiting.clear()
    finally:
        for _ in range(threads):
            todo.put(None)
    if failure:
        raise failure


def _with_what_it_cost(failure: Exception | None, another: Exception) -> Exception:
    """The first failure, with what all of them have cost."""
    if isinstance(failure, EndpointError) and isinstance(another, EndpointError):
        failure.requests += another.requests
        failure.completion_tokens += another.completion_tokens
    return failure or another


def _work(client: Client, todo: SimpleQueue, done: SimpleQueue) -> None:
    while (item := todo.get()) is not None:
        place, question = item
        try:
            done.put((place, client.ask(question)))
        except Exception as error:  # EndpointError, or a fault of ours: the caller raises it
            done.put((place, error))


@transaction.atomic
def reserve_slot(endpoint: Endpoint) -> datetime:
    """When the next request may be sent; nobody else, in no other worker, gets the same moment."""
    now = timezone.now()
    if not endpoint.requests_per_minute:
        return now
    row = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    slot = max(now, row.next_request_at or now)
    Endpoint.objects.filter(pk=endpoint.pk).update(next_request_at=slot + endpoint.pause)
    return slot
