"""LoRA versions in a running vLLM: loaded through its adapter endpoint, asked by the adapter's name.

Nothing is remembered here: before each generation the adapter is loaded, and that it is loaded already is no error. So a vLLM
that was started again gets it again.
"""

import copy
import logging

from training.dpo.lora import ADAPTER
from training.endpoints.chat import Client
from training.endpoints.errors import EndpointError, PromptRefused
from training.models import Endpoint, Version

logger = logging.getLogger(__name__)


def endpoint_for(version: Version) -> Endpoint | None:
    """What writes a version's answers over the network: its own endpoint, or the project's vLLM with its adapter loaded.

    None for weights that are sampled here. Raises EndpointError when vLLM does not take the adapter.
    """
    if version.is_endpoint:
        return version.endpoint
    vllm = version.project.endpoints.filter(loads_adapters=True).order_by("pk").first() if has_adapter(version) else None
    return load_adapter(version, vllm) if vllm else None


def has_adapter(version: Version) -> bool:
    """An adapter that fits the base model: one trained on an adapted parent would need that parent's merged weights below it."""
    on_base = version.parent is not None and version.parent.parent_id is None and not version.parent.is_endpoint
    return on_base and (version.path / ADAPTER / "adapter_config.json").is_file()


def load_adapter(version: Version, vllm: Endpoint) -> Endpoint:
    """The endpoint as it is asked for this version's answers. Adapters of versions that no longer serve are unloaded."""
    name, path = name_of(version), (version.path / ADAPTER).resolve()
    with Client(vllm) as client:
        try:
            client.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        except EndpointError as error:
            if not (isinstance(error, PromptRefused) and "already been loaded" in str(error)):
                raise EndpointError(
                    f"The adapter of {version} could not be loaded into {vllm}. {error} vLLM must be started with --enable-lora "
                    f"and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, serve the base model of {version}, and be able to read {path}."
                ) from error
        _unload_others(client, version, name)
    asked = copy.copy(vllm)
    asked.model = name
    return asked


def name_of(version: Version) -> str:
    """What vLLM calls it: another installation's, or another database's, version of the same number is another adapter."""
    return f"{_prefix(version)}{version.number}-{int(version.created_at.timestamp()):x}"


def _prefix(version: Version) -> str:
    return f"prefloop-{version.project.slug}-v"


def _unload_others(client: Client, version: Version, name: str) -> None:
    """It is tidying only: what fails is logged."""
    try:
        for other in client.models():
            if other.startswith(_prefix(version)) and other != name:
                client.post("/unload_lora_adapter", {"lora_name": other})
    except EndpointError as error:
        logger.warning("an adapter that no longer serves stays loaded: %s", error)
