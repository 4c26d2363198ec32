from __future__ import annotations

import pytest
import torch
from torch import nn

from uda_hydra.engine.optimizers import RepeatedSGD, build_optimizers, poly, set_rates
from uda_hydra.settings import OptimizerSettings

SETTINGS = {
    "algorithm": "sgd",
    "lr": 0.1,
    "head_lr_factor": 10.0,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "nesterov": False,
    "adversary_lr": 1e-4,
    "adversary_betas": [0.9, 0.99],
    "power": 0.9,
    "horizon": 100,
    "backbone_repeats": False,
    "accumulate_decay": False,
    "fused": False,
}


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2, bias=False)
        self.head = nn.Linear(2, 1, bias=False)

    def parameter_groups(self):
        return [
            {"name": "backbone", "params": [self.backbone.weight], "repeats": [3]},
            {"name": "heads", "params": [self.head.weight], "repeats": [1]},
        ]


def test_poly_starts_at_one_and_ends_at_zero():
    assert poly(0, horizon=10, power=0.9) == 1
    assert poly(5, horizon=10, power=1.0) == 0.5
    assert poly(10, horizon=10, power=0.9) == poly(11, horizon=10, power=0.9) == 0


def test_heads_learn_at_their_factor_and_both_decay():
    optimizer = build_optimizers({"segmenter": TwoParts()}, OptimizerSettings(**SETTINGS))
    set_rates(optimizer.values(), 0.5)
    groups = optimizer["segmenter"].param_groups
    assert [g["lr"] for g in groups] == [0.05, 0.5]
    set_rates(optimizer.values(), 0.25)
    assert [g["lr"] for g in groups] == [0.025, 0.25]


def test_other_players_get_adam_at_the_adversary_rate():
    optimizers = build_optimizers({"critic": nn.Linear(2, 1)}, OptimizerSettings(**SETTINGS))
    assert isinstance(optimizers["critic"], torch.optim.Adam)
    assert optimizers["critic"].param_groups[0]["lr"] == 1e-4
    assert optimizers["critic"].param_groups[0]["betas"] == (0.9, 0.99)


def test_adamw_keeps_the_groups_and_their_own_decay():
    class WithNorm(TwoParts):
        def parameter_groups(self):
            backbone, heads = super().parameter_groups()
            return [backbone, {**heads, "weight_decay": 0.0}]

    settings = OptimizerSettings(**(SETTINGS | {"algorithm": "adamw"}))
    optimizer = build_optimizers({"segmenter": WithNorm()}, settings)["segmenter"]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.1, 1.0]


def test_repeats_are_of_sgd_alone():
    with pytest.raises(ValueError, match=r"optimizer\.backbone_repeats must be false with adamw"):
        OptimizerSettings(**(SETTINGS | {"algorithm": "adamw", "backbone_repeats": True}))


def test_one_repeat_is_plain_sgd():
    torch.manual_seed(0)
    ours, theirs = TwoParts().double(), TwoParts().double()
    theirs.load_state_dict(ours.state_dict())
    common = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    groups = [{"params": [*ours.parameters()], "repeats": [1, 1]}]
    steps = [
        RepeatedSGD(groups, accumulate_decay=False, **common),
        torch.optim.SGD(theirs.parameters(), **common),
    ]
    for _ in range(4):
        for module, optimizer in zip((ours, theirs), steps, strict=True):
            for parameter in module.parameters():
                parameter.grad = parameter.detach().cos()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("key", ["lr", "adversary_lr"])
def test_rates_out_of_range_name_their_key(key):
    with pytest.raises(ValueError, match=rf"optimizer\.{key} must be positive, got 0.0"):
        OptimizerSettings(**(SETTINGS | {key: 0.0}))
