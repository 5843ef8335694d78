"""Builders for what stands on a model server."""

from typing import Any

from annotate.models import Project
from tests.training.model_server import ModelServer
from training.endpoints.registering import create_endpoint
from training.models import Endpoint

ALL = {"at": "2026-01-01T00:00:00+00:00", "seconds": 0.1, "limit": "max_tokens", "stream_options": True, "usage": True, "n": True,
       "logprobs": True, "top_logprobs": True, "seed": True, "samples": True}  # fmt: skip


def make_endpoint(project: Project, server: ModelServer | str, *, features: dict | None = None, **fields: Any) -> Endpoint:
    """Tested already, with all that there is; `features` differ."""
    url = server if isinstance(server, str) else server.url
    given = {"name": f"server {project.endpoints.count()}", "model": "stub", "timeout_seconds": 5} | fields
    endpoint = create_endpoint(project=project, base_url=url, **given)
    endpoint.features = ALL | (features or {})
    endpoint.save()
    return endpoint
