"""What can go wrong with an endpoint, in words for the person who manages it."""

from training.worker.stopping import WorkFailed


class EndpointError(WorkFailed):
    """An endpoint cannot be asked, or its answer is of no use; the text says what, where and what to do."""

    requests = completion_tokens = 0  # what came before it failed: it was paid for


class PromptRefused(EndpointError):
    """The server takes requests, but not this one: another prompt may go well."""
