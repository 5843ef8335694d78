"""What the machine is good at is measured, and a run stays with what it began in."""

import pytest
import torch

from training.dpo import device
from training.dpo.errors import Stopped
from training.dpo.stopping import Stopper

from .test_training import Build, Train, of_kind

CPU = torch.device("cpu")
RATES = [(85e9, 407e9, True), (292e9, 150e9, False), (100e9, 110e9, False)]


@pytest.mark.parametrize(("float32", "bfloat16", "faster"), RATES)
def test_whether_bfloat16_is_faster_is_measured(float32, bfloat16, faster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cpu_flags", lambda: "flags : avx512_bf16")
    monkeypatch.setattr(device, "product_rate", {torch.float32: float32, torch.bfloat16: bfloat16}.__getitem__)
    assert device.trains_faster_in_bfloat16(CPU) is faster
    monkeypatch.setattr(device, "_cpu_flags", lambda: "flags : avx2")
    assert not device.trains_faster_in_bfloat16(CPU)


def test_the_rate_is_one_that_a_machine_can_have() -> None:
    assert 1e7 < device.product_rate(torch.float32, 64, 64) < 1e14


def test_a_run_goes_on_in_the_arithmetic_it_began_with(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, real = config(compute="auto", learning_rate=1e-3, max_steps=4), Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if step == 2 else None
        real(stopper, step)

    with monkeypatch.context() as patch:
        patch.setattr("training.dpo.model.trains_faster_in_bfloat16", lambda device: True)
        patch.setattr(Stopper, "check", check)
        with pytest.raises(Stopped):
            train_here(settings)
    monkeypatch.setattr("training.dpo.model.trains_faster_in_bfloat16", lambda device: False)
    output = train_here(settings)
    assert of_kind(output, "resumed")[0]["step"] == 2 and of_kind(output, "done")
    assert of_kind(output, "start")[0]["compute"] == "bfloat16"
