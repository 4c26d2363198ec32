"""Training steps of small official networks: losses, gradients, statistics, repeated updates."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity import official_networks
from tests.parity.official_networks import IMAGE_SIZED, NETWORKS
from uda_hydra.engine.optimizers import RepeatedSGD, build_optimizers
from uda_hydra.methods.base import Player
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.settings import OptimizerSettings
from uda_hydra.types import IGNORE, upsample

SMALL = [
    "adaptseg_multi_19",
    "advent_19",
    "advent_single_16",
    "caco_f_19",
    "cfcontra_moco_19",
    "cfcontra_simclr_19",
    "cfcontra_byol_19",
    "cfcontra_linear_19",
    "cacovan_gn_se_19",
    "cacovan_bn_19",
    "cacovan_advent_proj_19",
    "proda_19",
    "proda_bnclr_16",
    "proca_19",
    "proca_frozenbn_19",
    "proca_v3head_16",
    "maxsquare_13",
    "ybao_v3plus_16",
    "ybao_v3plus_os8_19",
    "daformer_19",
]


def small(case, name: str, num_classes: int) -> tuple[Segmenter, dict[str, str]]:
    """Ours in float64 and train mode, with the case's weights; our name of every official one."""
    more = {"train_projector": True} if name.startswith("cfcontra") else {}
    segmenter = official_networks.small(name, num_classes, **more)
    names = official_networks.fill(segmenter, case, NETWORKS[name].layout)
    segmenter.keep_stages = True
    return segmenter.double().train(), names


def labels(group, batch: int, num_classes: int) -> Tensor:
    label = group["shared"].inputs["label_small"][:batch]
    return label.where(label == IGNORE, label % num_classes)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(upsample(logits, label.shape[1:]), label, ignore_index=IGNORE)


def loss_of(ours: dict[str, Tensor], label: Tensor) -> Tensor:
    """The loss that the reference differentiates, of the outputs that it has."""
    weights = {"main": 1.0, "main_up": 1.0, "aux": 0.1, "aux_up": 0.1}
    loss = sum(w * cross_entropy(ours[key], label) for key, w in weights.items() if key in ours)
    return loss + 0.01 * sum(m.square().mean() for key, m in ours.items() if key not in weights)


@pytest.mark.parametrize("number", SMALL)
def test_training_gives_the_official_loss_gradients_and_statistics(reference, number):
    group = reference("networks_train")
    case = group[f"small_{number}_train"]
    name = number.rsplit("_", 1)[0]
    num_classes = case.args["num_classes"]
    segmenter, names = small(case, name, num_classes)
    image = official_networks.image_of(case, group).double()
    everything = official_networks.outputs(name, segmenter(image), image.shape[2:])
    compared = [key.removesuffix("_shape") for key in case.out if key.endswith("_shape")]
    ours = {key: everything[key] for key in compared}
    assert any(key in ours for key in ("main", *IMAGE_SIZED))
    loss = loss_of(ours, labels(group, case.args["batch"], num_classes))
    loss.backward()
    assert loss.item() == pytest.approx(case.out["loss"], rel=1e-7)
    for key, map in ours.items():
        assert [*map.shape] == case.out[f"{key}_shape"].tolist()
        for figure, value in official_networks.figures(map).items():
            expected = case.out[f"{key}_{figure}"]
            assert value.item() == pytest.approx(expected, rel=1e-7, abs=1e-12), (key, figure)
    assert_gradients(segmenter, case, names)
    assert_statistics(segmenter, case, names)


def assert_gradients(segmenter: Segmenter, case, names: dict[str, str]) -> None:
    parameters = dict(segmenter.named_parameters())
    assert {names[official] for official in case.out["grad_names"]} == {*parameters}
    norms, means = case.out["grad_l2"].tolist(), case.out["grad_mean"].tolist()
    for official, norm, mean in zip(case.out["grad_names"], norms, means, strict=True):
        gradient = parameters[names[official]].grad
        if norm < 0:
            assert gradient is None, official
        else:
            # In front of a norm, the gradient of a bias is zero but for rounding.
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-7, abs=1e-14), official
            assert gradient.mean().item() == pytest.approx(mean, rel=1e-7, abs=1e-12), official


def assert_statistics(segmenter: Segmenter, case, names: dict[str, str]) -> None:
    buffers = dict(segmenter.named_buffers())
    assert {names[official] for official in case.out["buffer_names"]} == {*buffers}
    norms = case.out["buffer_l2"].tolist()
    for official, norm in zip(case.out["buffer_names"], norms, strict=True):
        value = buffers[names[official]].double().norm().item()
        assert value == pytest.approx(norm, rel=1e-7), official


def test_every_small_network_is_compared(reference):
    names = reference("networks_train").names("small_")
    assert sorted(names) == sorted(f"small_{number}_train" for number in SMALL)


def test_optimiser_groups_count_parameters_as_the_official_ones(reference):
    case = reference("networks_train")["opt_dup_sgd_advent"]
    segmenter, ours = advent(case)
    backbone, heads = segmenter.parameter_groups()
    names = {parameter: name for name, parameter in segmenter.named_parameters()}
    for group, key in ((backbone, "count_1x"), (heads, "count_10x")):
        listed = dict(zip((names[p] for p in group["params"]), group["repeats"], strict=True))
        counts = zip(case.out["param_names"], case.out[key].tolist(), strict=True)
        assert {ours[official]: n for official, n in counts if n} == listed


def advent(case) -> tuple[Segmenter, dict[str, str]]:
    """The network of the optimiser's case."""
    classes = dict(zip(case.inputs["keys"], case.inputs["shapes"], strict=True))
    return small(case, "advent", int(classes["layer6.conv2d_list.0.bias"]))


@pytest.mark.parametrize(("repeats", "kind"), [(True, "sequential"), (False, "once")])
def test_three_steps_of_the_official_optimiser(reference, repeats, kind):
    group = reference("networks_train")
    case = group["opt_dup_sgd_advent"]
    segmenter, names = advent(case)
    settings = OptimizerSettings(
        algorithm="sgd",
        lr=case.args["lr"],
        head_lr_factor=10.0,
        layer_decay=1.0,
        momentum=case.args["momentum"],
        weight_decay=case.args["weight_decay"],
        decay_norms="all",
        nesterov=False,
        discriminator_lr=1e-4,
        discriminator_betas=[0.9, 0.99],
        power=0.9,
        horizon=250000,
        warmup_steps=0,
        warmup_start=1.0,
        warmup_decays=True,
        backbone_repeats=repeats,
        accumulate_decay=False,
        fused=False,
    )
    optimizer = build_optimizers({"segmenter": Player(segmenter, "segmenter")}, settings)[
        "segmenter"
    ]
    for parameters in optimizer.param_groups:
        # The case has a constant rate; the trainer would set it from this one.
        parameters["lr"] = parameters["initial_lr"]
    image = official_networks.image_of(case, group).double()
    label = labels(group, len(image), segmenter.num_classes)
    losses = []
    for _ in case.out["losses"].tolist():
        prediction = segmenter(image)
        loss = loss_of({"main": prediction.main, "aux": prediction.aux}, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(case.out[f"losses_{kind}"].tolist(), rel=1e-9)
    ours = dict(segmenter.named_parameters())
    norms = [ours[names[official]].norm().item() for official in case.out["param_names"]]
    assert norms == pytest.approx(case.out[f"param_l2_{kind}"].tolist(), rel=1e-9)


def test_repeated_updates_are_sequential_single_ones(reference):
    case = reference("networks_train")["opt_dup_scalar"]
    parameter = torch.nn.Parameter(case.inputs["p0"].clone())
    args = case.args
    optimizer = RepeatedSGD(
        [{"params": [parameter], "repeats": [args["repeat"]]}],
        accumulate_decay=False,
        lr=args["lr"],
        momentum=args["momentum"],
        weight_decay=args["weight_decay"],
    )
    for gradient, expected in zip(case.inputs["grads"], case.out["p_sequential"], strict=True):
        parameter.grad = gradient.clone()
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)
