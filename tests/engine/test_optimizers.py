from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.conftest import composed
from uda_hydra.config import settings
from uda_hydra.engine.optimizers import (
    RepeatedSGD,
    build_optimizers,
    segmenter_groups,
    set_rates,
)
from uda_hydra.methods.base import Player
from uda_hydra.models.daformer import mix_transformer
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.settings import OptimizerSettings

SETTINGS = {
    "algorithm": "sgd",
    "lr": 0.1,
    "head_lr_factor": 10.0,
    "layer_decay": 1.0,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "decay_norms": "all",
    "nesterov": False,
    "discriminator_lr": 1e-4,
    "discriminator_betas": [0.9, 0.99],
    "power": 1.0,
    "horizon": 100,
    "warmup_steps": 0,
    "warmup_start": 1.0,
    "warmup_decays": True,
    "backbone_repeats": False,
    "accumulate_decay": False,
    "fused": False,
}


def chosen(**changes) -> OptimizerSettings:
    return OptimizerSettings(**(SETTINGS | changes))


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


def test_heads_learn_at_their_factor_and_both_decay():
    players = {"segmenter": Player(TwoParts(), "segmenter")}
    optimizer = build_optimizers(players, chosen())
    groups = optimizer["segmenter"].param_groups
    for step, rates in ((50, [0.05, 0.5]), (75, [0.025, 0.25])):
        set_rates(optimizer.values(), step, chosen())
        assert [group["lr"] for group in groups] == rates


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_a_head_learns_as_the_heads_of_the_segmenter_do(algorithm):
    module = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1).requires_grad_(False))
    players = {"segmenter": Player(TwoParts(), "segmenter"), "projector": Player(module, "head")}
    optimizers = build_optimizers(players, chosen(algorithm=algorithm))
    assert type(optimizers["projector"]) is type(optimizers["segmenter"])
    (group,) = optimizers["projector"].param_groups
    assert (group["name"], group["initial_lr"], group["weight_decay"]) == ("projector", 1.0, 0.01)
    assert group["params"] == [*module[0].parameters()]


@pytest.mark.parametrize(("rule", "decay"), [("all", 0.01), ("heads", 0.01), ("none", 0.0)])
def test_the_norms_of_a_head_decay_as_those_of_the_segmenter_s_heads_do(rule, decay):
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    settings = chosen(algorithm="adamw", decay_norms=rule)
    optimizer = build_optimizers({"projector": Player(module, "head")}, settings)["projector"]
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decays[p] for p in module.parameters()] == [0.01, 0.01, decay, decay]
    assert {group["initial_lr"] for group in optimizer.param_groups} == {1.0}


def test_a_head_can_be_trained_beside_repeated_updates():
    module = nn.Linear(2, 1)
    players = {"projector": Player(module, "head")}
    optimizer = build_optimizers(players, chosen(backbone_repeats=True))["projector"]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = module.bias.item()
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    optimizer.step()
    assert module.bias.item() == pytest.approx(before - (1 + 0.01 * before))


def test_discriminators_get_adam_at_their_own_rate():
    players = {"judge": Player(nn.Linear(2, 1), "discriminator")}
    optimizer = build_optimizers(players, chosen())["judge"]
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["name"]) == (1e-4, (0.9, 0.99), "judge")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"player judge: .* kind 'referee'"):
        build_optimizers({"judge": Player(nn.Linear(2, 1), "referee")}, chosen())


def rules(segmenter, settings) -> dict[str, tuple[float, float]]:
    """By parameter: its rate and its decay."""
    names = {p: name for name, p in segmenter.named_parameters()}
    return {
        names[parameter]: (group["initial_lr"], group.get("weight_decay", settings.weight_decay))
        for group in segmenter_groups(segmenter, settings)
        for parameter in group["params"]
    }


def test_daformer_s_rules_for_every_parameter():
    segmenter = mix_transformer(num_classes=3, size="tiny", head_channels=8)
    release = settings(composed("optimizer=daformer").optimizer)
    ours = settings(composed("optimizer=adamw").optimizer)
    found, spared = rules(segmenter, release), rules(segmenter, ours)
    assert {*found} == {name for name, _ in segmenter.named_parameters()}
    for name, (rate, decay) in found.items():
        encoder = name.startswith("backbone.")
        norm = any(part.startswith("norm") for part in name.split("."))
        assert rate == pytest.approx(6e-5 if encoder else 6e-4)
        assert decay == (0.0 if encoder and norm else 0.01)
        assert spared[name][0] == rate
    # The head's norms are called otherwise: batch norm has a bias and a vector of weights.
    heads = {m for m in segmenter.main_head.modules() if isinstance(m, nn.BatchNorm2d)}
    names = {p: name for name, p in segmenter.named_parameters()}
    norms = [names[p] for module in heads for p in module.parameters()]
    assert norms
    assert all((found[name][1], spared[name][1]) == (0.01, 0.0) for name in norms)


def test_each_block_learns_slower_than_the_next_by_the_layer_decay():
    segmenter = deeplabv2(num_classes=2, blocks=(1, 2, 1, 1), width=4, batch_norm="trained")
    found = rules(segmenter, chosen(layer_decay=0.5, head_lr_factor=1.0))
    # Five blocks: those of the last stage are one step from the heads, the stem is six.
    steps = {"conv1": 6, "bn1": 6, "layer1.0": 5, "layer2.0": 4, "layer2.1": 3, "layer3.0": 2}
    steps["layer4.0"] = 1
    for name, (rate, _) in found.items():
        block = name.removeprefix("backbone.").rpartition(".")[0]
        away = next((n for start, n in steps.items() if block.startswith(start)), 0)
        assert rate == pytest.approx(0.1 * 0.5**away), name


def test_the_blocks_of_a_mix_transformer_are_counted_in_the_order_of_the_image():
    backbone = mix_transformer(num_classes=2, size="tiny", head_channels=8).backbone
    depths = backbone.depths()
    for stage in range(1, 5):
        found = {
            part: depths[next(backbone.get_submodule(f"{part}{stage}").parameters())]
            for part in ("patch_embed", "block", "norm")
        }
        assert found == {"patch_embed": stage - 1, "block": stage, "norm": stage}


def test_without_rules_the_groups_are_the_segmenter_s():
    segmenter = deeplabv2(num_classes=2, blocks=(1, 1, 1, 1), width=4)
    groups = segmenter_groups(segmenter, chosen())
    for group, plain in zip(groups, segmenter.parameter_groups(), strict=True):
        assert {key: group[key] for key in plain} == plain


def test_repeats_are_of_sgd_alone():
    with pytest.raises(ValueError, match=r"optimizer\.backbone_repeats must be false with adamw"):
        chosen(algorithm="adamw", backbone_repeats=True)


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


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("lr", 0.0, "positive"),
        ("discriminator_lr", 0.0, "positive"),
        ("warmup_steps", -1, "0 or more"),
        ("warmup_start", 1.5, r"in \[0, 1\]"),
        ("layer_decay", 2.0, r"in \[0, 1\]"),
        ("decay_norms", "some", "one of all, heads, none"),
    ],
)
def test_values_out_of_range_name_their_key(key, value, wanted):
    with pytest.raises(ValueError, match=rf"optimizer\.{key} must be {wanted}, got {value}"):
        chosen(**{key: value})
