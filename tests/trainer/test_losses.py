"""The losses against other people's code, by hand, and by their laws."""

import json
import math
from pathlib import Path

import pytest
import torch

from training.dpo.evaluate import Objective, metrics
from training.dpo.losses import LOSSES, dpo, implicit_reward

GOLDEN_FILE = Path(__file__).resolve().parents[3] / "shared" / "golden_losses.json"
# The first four of the golden rows, so that a checkout without the file beside it is still held to them.
GOLDEN_ROWS = {
    "inputs": {
        "policy_chosen": [-165.050026, -89.199925, -56.24897, -52.908296],
        "policy_rejected": [-50.81395, -108.595304, -73.039444, -94.917025],
        "ref_chosen": [-183.066375, -102.350963, -59.822774, -40.82511],
        "ref_rejected": [-54.103646, -106.009578, -88.874172, -108.120635],
    },
    "dpo_sigmoid_b0.1": [0.2064558678240488, 0.18837132771061568, 1.4833953967749673, 2.6054223502085656],
}
ROWS = torch.tensor([[-10.0, -12.0, -11.0, -11.0], [-5.0, -4.0, -5.0, -5.0]])  # policy c, policy r, reference c, reference r


def golden_inputs(inputs: dict) -> list[torch.Tensor]:
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    return [torch.tensor(inputs[name], dtype=torch.float64, requires_grad=True) for name in names]


def test_four_golden_rows() -> None:
    losses = dpo(*golden_inputs(GOLDEN_ROWS["inputs"]), beta=0.1)
    assert losses.tolist() == pytest.approx(GOLDEN_ROWS["dpo_sigmoid_b0.1"], abs=1e-6)


@pytest.mark.skipif(not GOLDEN_FILE.exists(), reason="the golden values lie beside the repository, not in it")
@pytest.mark.parametrize(
    "name",
    ["dpo_sigmoid_b0.1", "dpo_sigmoid_b0.5", "dpo_sigmoid_b0.1__refimpl", "dpo_sigmoid_b0.1__openrlhf",
     "cdpo_b0.1_eps0.1__refimpl", "cdpo_b0.1_eps0.1__openrlhf"],
)  # fmt: skip
def test_golden_losses_and_gradients(name: str) -> None:
    golden = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
    expected = golden["losses"][name]
    inputs = golden_inputs(golden["inputs"])
    losses = LOSSES["dpo"](*inputs, **expected["params"])
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(expected["losses"], abs=1e-6)
    assert inputs[0].grad.tolist() == pytest.approx(expected["dloss_dpolicy_chosen"], abs=1e-6)
    assert inputs[1].grad.tolist() == pytest.approx(expected["dloss_dpolicy_rejected"], abs=1e-6)


def test_by_hand() -> None:
    assert dpo(*ROWS.unbind(1), beta=0.1).tolist() == pytest.approx([math.log1p(math.exp(-0.2)), math.log1p(math.exp(0.1))])
    smooth = dpo(*ROWS[:1].unbind(1), beta=0.1, label_smoothing=0.1).item()
    assert smooth == pytest.approx(0.9 * 0.598139 + 0.1 * 0.798139, abs=1e-6)
    assert implicit_reward(ROWS[:, 0], ROWS[:, 2], 0.1).tolist() == pytest.approx([0.1, 0.0])


def test_policy_equal_to_reference_has_loss_ln_2() -> None:
    same = torch.tensor([-3.0, -800.0])
    assert dpo(same, same - 5, same, same - 5, beta=0.1).tolist() == pytest.approx([math.log(2)] * 2)


def test_label_smoothing_changes_the_loss() -> None:
    assert not torch.allclose(dpo(*ROWS.unbind(1), beta=0.1), dpo(*ROWS.unbind(1), beta=0.1, label_smoothing=0.2))


def test_smoothing_of_a_half_cannot_tell_chosen_from_rejected() -> None:
    chosen_first = dpo(*ROWS.unbind(1), beta=0.1, label_smoothing=0.5)
    rejected_first = dpo(*ROWS[:, [1, 0, 3, 2]].unbind(1), beta=0.1, label_smoothing=0.5)
    assert torch.allclose(chosen_first, rejected_first)


def test_swapping_the_completions_flips_the_margin() -> None:
    objective = Objective("dpo", beta=0.1, label_smoothing=0.0)
    straight = metrics(ROWS[:, :2], ROWS[:, 2:], torch.ones(2), objective)
    swapped = metrics(ROWS[:, [1, 0]], ROWS[:, [3, 2]], torch.ones(2), objective)
    assert swapped["margin"] == pytest.approx(-straight["margin"])
    assert swapped["chosen_reward"] == straight["rejected_reward"]


def test_metrics_are_not_swapped() -> None:
    policy, reference = torch.tensor([[-10.0, -30.0], [-20.0, -40.0], [-9.0, -9.0]]), torch.tensor([[-12.0, -26.0]] * 3)
    figures = metrics(policy, reference, torch.ones(3), Objective("dpo", beta=0.5, label_smoothing=0.0))
    assert figures["chosen_logp"] == pytest.approx(-13.0)
    assert figures["rejected_logp"] == pytest.approx(-79 / 3)
    assert figures["chosen_reward"] == pytest.approx(0.5 * (2 - 8 + 3) / 3)
    assert figures["rejected_reward"] == pytest.approx(0.5 * (-4 - 14 + 17) / 3)
    assert figures["margin"] == pytest.approx(0.5 * (6 + 6 - 14) / 3)
    assert figures["accuracy"] == pytest.approx(2 / 3)


def test_equal_rewards_count_as_half_right() -> None:
    same = torch.tensor([[-1.0, -2.0]])
    assert metrics(same, same, torch.ones(1), Objective("dpo", 0.1, 0.0))["accuracy"] == 0.5


def test_weights_scale_the_loss_only() -> None:
    objective = Objective("dpo", beta=0.1, label_smoothing=0.0)
    plain = metrics(ROWS[:, :2], ROWS[:, 2:], torch.ones(2), objective)
    first_only = metrics(ROWS[:, :2], ROWS[:, 2:], torch.tensor([2.0, 0.0]), objective)
    assert first_only["loss"] == pytest.approx(math.log1p(math.exp(-0.2)))
    assert first_only["margin"] == plain["margin"]
