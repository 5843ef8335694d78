"""The losses against other people's code, by hand, and by their laws."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from training.dpo.config import LOSS_OPTIONS
from training.dpo.evaluate import Objective, metrics
from training.dpo.losses import LOSSES, Scores, dpo, dpo_ties, implicit_reward, kto
from training.dpo.tokens import Example

GOLDEN_FILE = Path(__file__).resolve().parents[3] / "shared" / "golden_losses.json"
# The first four of the golden rows, so that a checkout without the file beside it is still held to them.
GOLDEN_ROWS = {
    "inputs": {
        "policy_chosen": [-165.050026, -89.199925, -56.24897, -52.908296],
        "policy_rejected": [-50.81395, -108.595304, -73.039444, -94.917025],
        "ref_chosen": [-183.066375, -102.350963, -59.822774, -40.82511],
        "ref_rejected": [-54.103646, -106.009578, -88.874172, -108.120635],
        "len_chosen": [102, 78, 63, 36],
        "len_rejected": [77, 67, 69, 112],
    },
    "dpo_sigmoid_b0.1": [0.2064558678240488, 0.18837132771061568, 1.4833953967749673, 2.6054223502085656],
}
# The file's name for each: our loss, its options, and the weight of the NLL term.
GOLDEN: dict[str, tuple[str, dict[str, float], float]] = {
    "dpo_sigmoid_b0.1": ("dpo", {"beta": 0.1}, 0.0),
    "dpo_sigmoid_b0.5": ("dpo", {"beta": 0.5}, 0.0),
    "dpo_sigmoid_b0.1__refimpl": ("dpo", {"beta": 0.1}, 0.0),
    "dpo_sigmoid_b0.1__openrlhf": ("dpo", {"beta": 0.1}, 0.0),
    "cdpo_b0.1_eps0.1__refimpl": ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.0),
    "cdpo_b0.1_eps0.1__openrlhf": ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.0),
    "robust_b0.1_eps0.1": ("robust", {"beta": 0.1, "label_smoothing": 0.1}, 0.0),
    "ipo_b0.1_token_mean": ("ipo", {"beta": 0.1}, 0.0),
    "hinge_b0.1": ("hinge", {"beta": 0.1}, 0.0),
    "sigmoid_norm_b0.1": ("dpo_norm", {"beta": 0.1}, 0.0),
    "sigmoid_norm_b2.0": ("dpo_norm", {"beta": 2.0}, 0.0),
    "rpo_sigmoid_plus_1.0xnll_tokenmean_b0.1": ("dpo", {"beta": 0.1}, 1.0),
    "sft_tokenmean": ("sft", {}, 0.0),
    "unlikelihood_dpo_paper_alpha1.0": ("unlikelihood", {"unlikelihood_weight": 1.0}, 0.0),
    "unlikelihood_dpo_paper_alpha0.1": ("unlikelihood", {"unlikelihood_weight": 0.1}, 0.0),
}
# Held to in a test of their own, below.
OTHERS = {
    "kto_b0.1",
    "kto_b0.1_wd1.33",
    "kto_b0.1_kl_clamped_to_0",
    "bt_nomargin",
    "bt_margin_llama2_large_3210",
    "preferred_ft_sum",
}
# Losses that Prefloop does not have: they are not of DPO's family or nobody has asked for them.
LEFT_OUT = {
    "ipo_b0.1_sum__refimpl", "slic_hinge_noref_b0.1", "simpo_b2.0_gamma0.5", "cpo_sigmoid_noref_b0.1", "orpo_or_term_b0.1",
    "exo_pair_b0.1_eps1e-3", "nca_pair_b0.1", "bco_pair_b0.1", "sppo_hard_b0.1", "apo_zero_b0.1", "apo_down_b0.1",
    "discopop_b0.1_tau0.05", "dpo_sigmoid_b0.1_forward_kl", "dpo_sigmoid_b0.1_js",
}  # fmt: skip
POLICY = torch.tensor([[-10.0, -12.0], [-5.0, -4.0]])
REFERENCE = torch.tensor([[-11.0, -11.0], [-5.0, -5.0]])
needs_golden = pytest.mark.skipif(not GOLDEN_FILE.exists(), reason="the golden values lie beside the repository, not in it")


def golden() -> dict[str, Any]:
    return json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))


def golden_scores(inputs: dict[str, list[float]]) -> Scores:
    def column(name: str) -> torch.Tensor:
        return torch.tensor(inputs[name], dtype=torch.float64, requires_grad=name.startswith("policy"))

    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected", "len_chosen", "len_rejected")
    count = len(inputs["policy_chosen"])
    return Scores(*map(column, names), strength=torch.ones(count), tie=torch.zeros(count, dtype=torch.bool))


def pairs(count: int, **fields: Any) -> list[Example]:
    """Two tokens chosen, four rejected."""
    usual: dict[str, Any] = {"prompt": (5,), "chosen": (6, 2), "rejected": (7, 8, 9, 2), "weight": 1.0, "margin": 1.0}
    return [Example(line=1, id=1, **usual | fields) for _ in range(count)]


def rows(**fields: Any) -> Scores:
    return Scores.of(POLICY, REFERENCE, pairs(2, **fields))


def test_four_golden_rows() -> None:
    losses = dpo(golden_scores(GOLDEN_ROWS["inputs"]), beta=0.1)
    assert losses.tolist() == pytest.approx(GOLDEN_ROWS["dpo_sigmoid_b0.1"], abs=1e-6)


@needs_golden
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_losses_and_gradients(name: str) -> None:
    loss, options, nll_weight = GOLDEN[name]
    expected, scores = golden()["losses"][name], golden_scores(golden()["inputs"])
    losses = Objective(loss, options=options, nll_weight=nll_weight).losses(scores)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(expected["losses"], abs=1e-6)
    for column, key in ((scores.policy_chosen, "dloss_dpolicy_chosen"), (scores.policy_rejected, "dloss_dpolicy_rejected")):
        if key in expected:
            found = column.grad.tolist() if column.grad is not None else [0.0] * len(losses)
            assert found == pytest.approx(expected[key], abs=1e-6)


@needs_golden
def test_every_golden_loss_is_met_or_left_out_on_purpose() -> None:
    assert set(golden()["losses"]) == set(GOLDEN) | OTHERS | LEFT_OUT


@needs_golden
@pytest.mark.parametrize("name", sorted(name for name in OTHERS if name.startswith("kto")))
def test_golden_kto(name: str) -> None:
    """16 liked answers, then 16 disliked ones; the reference point is the mean log-ratio of mismatched answers."""
    expected, scores = golden()["losses"][name], golden_scores(golden()["inputs"])
    options = expected["params"]
    kl = (torch.tensor(options["policy_KL_logps"]).double() - torch.tensor(options["ref_KL_logps"]).double()).mean()
    ratios = torch.cat([scores.chosen_ratio, scores.rejected_ratio])
    desirable = torch.arange(32) < 16
    weights = {key: options[key] for key in ("beta", "desirable_weight", "undesirable_weight")}
    loss = kto(ratios, desirable, kl, **weights).mean()
    loss.backward()
    assert max(kl.item(), 0.0) == pytest.approx(expected["kl"], abs=1e-6)
    assert loss.item() == pytest.approx(expected["mean"], abs=1e-6)
    assert scores.policy_chosen.grad.tolist() == pytest.approx(expected["dmean_dpolicy_chosen"], abs=1e-6)
    assert scores.policy_rejected.grad.tolist() == pytest.approx(expected["dmean_dpolicy_rejected"], abs=1e-6)


@needs_golden
@pytest.mark.parametrize("name", ["bt_nomargin", "bt_margin_llama2_large_3210"])
def test_the_strength_offset_is_a_reward_models_margin(name: str) -> None:
    """With β = 1 and no reference, log-probabilities are rewards and the offset is the margin of a Bradley-Terry model."""
    expected = golden()["losses"][name]
    chosen, rejected = (torch.tensor(expected["params"][key]).double() for key in ("reward_chosen", "reward_rejected"))
    zero, strength = torch.zeros(16).double(), torch.tensor([margin or 0.0 for margin in expected["params"]["margins"]])
    scores = Scores(chosen, rejected, zero, zero, zero + 1, zero + 1, strength, zero.bool())
    assert dpo(scores, beta=1.0, strength_offset=1.0).tolist() == pytest.approx(expected["losses"], abs=1e-6)


@needs_golden
def test_preferred_ft_is_the_papers_per_token() -> None:
    scores = golden_scores(golden()["inputs"])
    summed = LOSSES["sft"](scores) * scores.chosen_tokens
    assert summed.tolist() == pytest.approx(golden()["losses"]["preferred_ft_sum"]["losses"], abs=1e-6)


def by_hand(loss: str, **options: float) -> float:
    return LOSSES[loss](rows(), **options)[0].item()


def test_by_hand() -> None:
    """h is 2, 1 of it from the chosen answer's two tokens and −1 of it from the rejected one's four."""
    assert dpo(rows(), beta=0.1).tolist() == pytest.approx([math.log1p(math.exp(-0.2)), math.log1p(math.exp(0.1))])
    assert by_hand("dpo", beta=0.1, label_smoothing=0.1) == pytest.approx(0.9 * 0.598139 + 0.1 * 0.798139, abs=1e-6)
    assert by_hand("dpo", beta=0.1, strength_offset=0.2) == pytest.approx(math.log(2))
    assert by_hand("robust", beta=0.1, label_smoothing=0.1) == pytest.approx(0.5731, abs=1e-4)
    assert by_hand("ipo", beta=0.5) == pytest.approx(0.0625)
    assert by_hand("hinge", beta=0.1) == pytest.approx(0.8)
    assert by_hand("dpo_norm", beta=2.0) == pytest.approx(0.2014, abs=1e-4)
    assert by_hand("sft") == pytest.approx(5.0)
    assert by_hand("unlikelihood", unlikelihood_weight=1.0) == pytest.approx(-2.0)
    ratios, liked = torch.tensor([1.0, 1.0]), torch.tensor([True, False])
    assert kto(ratios, liked, torch.tensor(0.0), beta=1.0).tolist() == pytest.approx([0.2689, 0.7311], abs=1e-4)
    assert implicit_reward(POLICY[:, 0], REFERENCE[:, 0], 0.1).tolist() == pytest.approx([0.1, 0.0])


def test_ties_by_hand_and_as_probabilities() -> None:
    level = Scores.of(torch.zeros(1, 2), torch.zeros(1, 2), pairs(1, tie=True))
    assert dpo_ties(level, beta=0.1, tie_width=1.0).item() == pytest.approx(0.7719, abs=1e-4)
    level = Scores.of(torch.zeros(1, 2), torch.zeros(1, 2), pairs(1))
    assert dpo_ties(level, beta=0.1, tie_width=1.0).item() == pytest.approx(1.3133, abs=1e-4)
    for swapped in (False, True):  # won + lost + tied
        order = [1, 0] if swapped else [0, 1]
        won = dpo_ties(rows(), beta=0.3, tie_width=0.7)
        lost = dpo_ties(Scores.of(POLICY[:, [1, 0]], REFERENCE[:, [1, 0]], pairs(2)), beta=0.3, tie_width=0.7)
        tied = dpo_ties(Scores.of(POLICY[:, order], REFERENCE[:, order], pairs(2, tie=True)), beta=0.3, tie_width=0.7)
        assert (-won).exp() + (-lost).exp() + (-tied).exp() == pytest.approx(torch.ones(2))


@pytest.mark.parametrize("loss", ["dpo", "dpo_norm"])
def test_policy_equal_to_reference_has_loss_ln_2(loss: str) -> None:
    same = torch.tensor([[-3.0, -8.0], [-800.0, -805.0]])
    losses = LOSSES[loss](Scores.of(same, same, pairs(2)), beta=0.1)
    assert losses.tolist() == pytest.approx([math.log(2)] * 2)


def test_the_configs_options_are_the_losses_own() -> None:
    for name, loss in LOSSES.items():
        parameters = inspect.signature(loss).parameters.values()
        assert LOSS_OPTIONS[name] == tuple(each.name for each in parameters if each.kind == each.KEYWORD_ONLY)
    assert set(LOSSES) == set(LOSS_OPTIONS)


OTHER_VALUES = {
    "beta": 0.3, "label_smoothing": 0.2, "strength_offset": 0.5, "tie_width": 0.5, "unlikelihood_weight": 0.5,
    "desirable_weight": 2.0, "undesirable_weight": 2.0,
}  # fmt: skip
USUAL_VALUES = {
    "beta": 0.1, "tie_width": 1.0, "unlikelihood_weight": 1.0, "label_smoothing": 0.0, "strength_offset": 0.0,
    "desirable_weight": 1.0, "undesirable_weight": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(("loss", "option"), [(loss, option) for loss, options in LOSS_OPTIONS.items() for option in options])
def test_each_option_changes_its_loss(loss: str, option: str) -> None:
    options = {name: USUAL_VALUES[name] for name in LOSS_OPTIONS[loss]}
    one = LOSSES[loss](rows(), **options)
    other = LOSSES[loss](rows(), **options | {option: OTHER_VALUES[option]})
    assert not torch.isclose(one, other).any()


def test_smoothing_of_a_half_cannot_tell_chosen_from_rejected() -> None:
    swapped = Scores.of(POLICY[:, [1, 0]], REFERENCE[:, [1, 0]], pairs(2))
    assert torch.allclose(dpo(rows(), beta=0.1, label_smoothing=0.5), dpo(swapped, beta=0.1, label_smoothing=0.5))


def test_swapping_the_completions_flips_the_margin() -> None:
    straight = metrics(POLICY, REFERENCE, pairs(2), Objective("dpo", options={"beta": 0.1}))
    swapped = metrics(POLICY[:, [1, 0]], REFERENCE[:, [1, 0]], pairs(2), Objective("dpo", options={"beta": 0.1}))
    assert swapped["margin"] == pytest.approx(-straight["margin"])
    assert swapped["chosen_reward"] == straight["rejected_reward"]


def test_metrics_are_not_swapped() -> None:
    policy, reference = torch.tensor([[-10.0, -30.0], [-20.0, -40.0], [-9.0, -9.0]]), torch.tensor([[-12.0, -26.0]] * 3)
    figures = metrics(policy, reference, pairs(3), Objective("dpo", beta=0.5, options={"beta": 0.5}))
    assert figures["chosen_logp"] == pytest.approx(-13.0)
    assert figures["rejected_logp"] == pytest.approx(-79 / 3)
    assert figures["chosen_reward"] == pytest.approx(0.5 * (2 - 8 + 3) / 3)
    assert figures["rejected_reward"] == pytest.approx(0.5 * (-4 - 14 + 17) / 3)
    assert figures["margin"] == pytest.approx(0.5 * (6 + 6 - 14) / 3)
    assert figures["accuracy"] == pytest.approx(2 / 3)


def test_equal_rewards_count_as_half_right_and_ties_not_at_all() -> None:
    objective, same = Objective("dpo", options={"beta": 0.1}), torch.tensor([[-1.0, -2.0]])
    assert metrics(same, same, pairs(1), objective)["accuracy"] == 0.5
    examples = [*pairs(1), *pairs(1, tie=True)]
    assert metrics(POLICY, REFERENCE, examples, objective)["accuracy"] == 1.0
    assert metrics(POLICY, REFERENCE, pairs(2), objective)["accuracy"] == 0.5


def test_weights_scale_the_loss_only() -> None:
    objective = Objective("dpo", options={"beta": 0.1})
    plain = metrics(POLICY, REFERENCE, pairs(2), objective)
    first_only = metrics(POLICY, REFERENCE, [*pairs(1, weight=2.0), *pairs(1, weight=0.0)], objective)
    assert first_only["loss"] == pytest.approx(math.log1p(math.exp(-0.2)))
    assert first_only["margin"] == plain["margin"]


def test_the_nll_term_is_added_per_token() -> None:
    plain, with_nll = (Objective("dpo", options={"beta": 0.1}, nll_weight=weight).losses(rows()) for weight in (0.0, 0.5))
    assert (with_nll - plain).tolist() == pytest.approx([0.5 * 10 / 2, 0.5 * 5 / 2])
