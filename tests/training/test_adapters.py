"""A LoRA version in a running vLLM, against an exchange as vLLM has it: its answers, word for word, to load and unload."""

import pytest

from annotate.models import Completion
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import ModelServer, model_server
from training.endpoints.adapters import has_adapter, name_of
from training.generation.pairs import run_generation
from training.models import Generation
from training.models.job import JobState

pytestmark = pytest.mark.torch  # the module of generations loads it

LOADED = "Success: LoRA adapter '{name}' added successfully."
REMOVED = "Success: LoRA adapter '{name}' removed successfully."
TWICE = {
    "error": {
        "message": "The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
        "set 'load_inplace' to True.",
        "type": "InvalidUserInput", "param": None, "code": 400,
    }
}  # fmt: skip


class Vllm:
    """What is loaded, and vLLM's answers."""

    def __init__(self, server: ModelServer) -> None:
        self.server, self.loaded, self.updates = server, ["stub"], True
        server.always = self.answer
        server.models = lambda: self.loaded

    def answer(self, handler) -> None:
        name = handler.body.get("lora_name", "")
        if handler.path.endswith("lora_adapter") and not self.updates:
            handler.send(404, {"detail": "Not Found"})
        elif handler.path == "/v1/load_lora_adapter" and name in self.loaded:
            handler.send(400, {"error": TWICE["error"] | {"message": TWICE["error"]["message"].format(name=name)}})
        elif handler.path == "/v1/load_lora_adapter":
            self.loaded.append(name)
            handler.send(200, LOADED.format(name=name), kind="text/plain; charset=utf-8")
        elif handler.path == "/v1/unload_lora_adapter":
            self.loaded.remove(name)
            handler.send(200, REMOVED.format(name=name), kind="text/plain; charset=utf-8")
        else:
            handler.answer()

    def posts(self, path: str) -> list[dict]:
        return [body for asked, body in self.server.posts if asked == path]


@pytest.fixture
def vllm():
    with model_server() as server:
        yield Vllm(server)


@pytest.fixture
def version(project, var_dir, vllm):
    """A LoRA version on the base model, with its adapter beside its merged weights."""
    project.queue_low, project.queue_high = 2, 2
    project.save()
    for _ in range(8):
        builders.make_prompt(project)
    base = builders.make_version(project, directory="models/base")
    (var_dir / "runs" / "r1" / "adapter").mkdir(parents=True)
    (var_dir / "runs" / "r1" / "adapter" / "adapter_config.json").write_text("{}")
    make_endpoint(project, vllm.server, loads_adapters=True)
    return builders.make_version(project, parent=base, directory="runs/r1", serving=True)


def generate(version) -> Generation:
    generation = Generation.objects.create(project=version.project, version=version)
    run_generation(generation.pk)
    generation.refresh_from_db()
    return generation


def test_the_adapter_of_the_serving_version_is_loaded_and_asked_by_its_name(version, vllm) -> None:
    generation = generate(version)
    assert (generation.state, generation.progress) == (JobState.DONE, 2), generation.error
    (loaded,) = vllm.posts("/v1/load_lora_adapter")
    assert loaded == {"lora_name": name_of(version), "lora_path": str(version.path / "adapter")}
    assert {body["model"] for body in vllm.posts("/v1/chat/completions")} == {name_of(version)}
    assert set(Completion.objects.values_list("version", flat=True)) == {version.pk}
    assert version.project.endpoints.get().model == "stub"  # the endpoint itself stays what it was


def test_one_that_is_loaded_already_is_used_as_it_is(version, vllm, project) -> None:
    generate(version)
    version.project.comparisons.update(free_places=0, state="done")
    assert generate(version).progress == 2 and len(vllm.posts("/v1/load_lora_adapter")) == 2


def test_those_that_no_longer_serve_are_unloaded(version, vllm) -> None:
    vllm.loaded += ["prefloop-taste-v1-abc", "prefloop-other-v1-abc", "somebody-else"]
    generate(version)
    assert vllm.loaded == ["stub", "prefloop-other-v1-abc", "somebody-else", name_of(version)]


def test_a_vllm_that_takes_no_adapters_fails_with_how_to_start_it(version, vllm) -> None:
    vllm.updates = False
    generation = generate(version)
    assert generation.state == JobState.FAILED
    assert "--enable-lora" in generation.error and "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in generation.error


def test_an_adapter_trained_on_an_adapted_parent_does_not_fit_the_base_and_is_not_loaded(version, project) -> None:
    assert has_adapter(version)
    child = builders.make_version(project, parent=version, directory="runs/r1")
    assert not has_adapter(child) and not has_adapter(version.parent)
