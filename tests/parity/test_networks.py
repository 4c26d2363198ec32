"""Our networks with the official weights give the official logits, gradients and statistics."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.conftest import DEFAULT
from tests.parity.fill import fill_tensor
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.init import recognise, rename
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import IGNORE, upsample

FULL = (
    "full_advent_r101_19",
    "full_advent_r101_19_even",
    "full_advent_r101_16",
    "full_adaptseg_multi_r101_19",
    "full_adaptseg_single_r101_19",
    "full_caco_f_r101_19",
)
SMALL = (
    "small_advent_19_train",
    "small_adaptseg_multi_19_train",
    "small_advent_single_16_train",
    "small_caco_f_19_train",
)


# Cases share most of their weights, and drawing those of a ResNet-101 takes seconds.
cached_fill = lru_cache(maxsize=None)(fill_tensor)


def official_weights(case) -> dict[str, Tensor]:
    """The case's weights under the official names."""
    shapes = [tuple(int(n) for n in s.split(",") if n) for s in case.inputs["shapes"]]
    salt = case.args["salt"]
    return {k: cached_fill(k, s, salt) for k, s in zip(case.inputs["keys"], shapes, strict=True)}


def network(case, blocks: tuple[int, ...]) -> tuple[Segmenter, dict[str, str]]:
    """Ours with the case's weights, and the official name of each of our entries."""
    weights = official_weights(case)
    layout = recognise(weights, case.name)
    names = rename(weights, layout)
    ours = {names[name]: tensor for name, tensor in weights.items()}
    with torch.device("meta"):
        segmenter = deeplabv2(
            num_classes=len(ours["main_head.branches.0.bias"]),
            blocks=blocks,
            multi_level="aux_head.branches.0.bias" in ours,
            active_branches=2 if "adaptseg" in case.name else 4,
        )
    segmenter.to_empty(device="cpu")
    segmenter.load_state_dict(ours)
    return segmenter, names


def image_of(case, group) -> Tensor:
    """The shared image that the case names, "[a:b]" being a part of the batch."""
    name, a, b = re.fullmatch(r"shared/in/(\w+?)(?:\[(\d+):(\d+)\])?", case.args["image"]).groups()
    image = group["shared"].inputs[name]
    return image if a is None else image[int(a) : int(b)]


def assert_close(ours: Tensor, official: Tensor, scale: Tensor | float) -> None:
    assert ours.shape == official.shape
    assert (ours - official).abs().max() <= 1e-4 * scale


@pytest.mark.parametrize("name", FULL)
def test_full_networks_give_the_official_logits(reference, name):
    group = reference("networks")
    case = group[name]
    segmenter, _ = network(case, blocks=(3, 4, 23, 3))
    segmenter.eval()
    with torch.inference_mode():
        image = image_of(case, group)
        result = segmenter(image)
        *_, third, _ = segmenter.backbone(image)
    assert_close(result.main, case.out["main"], case.out["main"].std())
    if "aux" in case.out:
        assert_close(result.aux, case.out["aux"], case.out["aux"].std())
    if "feat1_sub" in case.out:
        for part, ours in (("feat1", third), ("feat2", result.features)):
            a, b, c, d = case.args[f"{part}_stride"].tolist()
            official = case.out[f"{part}_sub"]
            assert_close(ours[::a, ::b, ::c, ::d], official, case.out[f"{part}_std"])
            assert float(ours.norm()) == pytest.approx(case.out[f"{part}_l2"], rel=1e-5)


def loss_of(case, segmenter: Segmenter, image: Tensor, label: Tensor) -> Tensor:
    """The loss that the reference differentiates."""
    *_, third, fourth = segmenter.backbone(image)
    main = segmenter.main_head(fourth)
    aux = None if segmenter.aux_head is None else segmenter.aux_head(third)
    size = tuple(label.shape[-2:])
    loss = F.cross_entropy(upsample(main, size), label, ignore_index=IGNORE)
    if aux is not None:
        loss = loss + 0.1 * F.cross_entropy(upsample(aux, size), label, ignore_index=IGNORE)
    features = {"feat1_mean": third, "feat2_mean": fourth}
    extra = [feature.square().mean() for key, feature in features.items() if key in case.out]
    return loss + 0.01 * sum(extra)


@pytest.mark.parametrize("name", SMALL)
def test_training_gives_the_official_loss_gradients_and_statistics(reference, name):
    group = reference("networks_train")
    shared = group if "shared" in group.names() else reference("networks")
    case = group[name]
    segmenter, ours = network(case, blocks=(1, 1, 1, 1))
    segmenter.double().train()
    label = shared["shared"].inputs["label_small"][: case.args["batch"]]
    label = label.where(label == IGNORE, label % case.args["num_classes"])
    loss = loss_of(case, segmenter, image_of(case, shared).double(), label)
    loss.backward()
    assert loss.item() == pytest.approx(case.out["loss"], rel=1e-7)

    parameters = dict(segmenter.named_parameters())
    assert len(parameters) == len(case.out["grad_names"])
    for official, norm in zip(case.out["grad_names"], case.out["grad_l2"].tolist(), strict=True):
        gradient = parameters[ours[official]].grad
        if norm < 0:
            assert gradient is None, official
        else:
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-7, abs=1e-14), official

    buffers = dict(segmenter.named_buffers())
    assert len(buffers) == len(case.out["buffer_names"])
    for official, norm in zip(
        case.out["buffer_names"], case.out["buffer_l2"].tolist(), strict=True
    ):
        value = buffers[ours[official]].double().norm().item()
        assert value == pytest.approx(norm, rel=1e-7), official


def manifest(name: str) -> object:
    path = Path(os.environ.get("UDA_REFERENCE", DEFAULT)) / "manifests" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no reference file at {path}; set UDA_REFERENCE to its folder")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "name",
    ["advent_r101_19", "adaptseg_multi_r101_16", "adaptseg_single_r101_19", "caco_f_r101_19"],
)
def test_our_renaming_is_the_reference_one(name):
    official = manifest("renaming")
    rules = official["rules"][official["layout_of_manifest"][name]]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in manifest(name)}
    ours = rename(tensors, recognise(tensors, name))
    for key in tensors:
        pattern, replacement = next(rule for rule in rules if re.match(rule[0], key))
        assert ours[key] == re.sub(pattern, replacement, key)


def test_optimiser_groups_count_parameters_as_the_official_ones(reference):
    case = reference("networks_train")["opt_dup_sgd_advent"]
    segmenter, ours = network(case, blocks=(1, 1, 1, 1))
    backbone, heads = segmenter.parameter_groups()
    names = {parameter: name for name, parameter in segmenter.named_parameters()}
    for group, key in ((backbone, "count_1x"), (heads, "count_10x")):
        listed = dict(zip((names[p] for p in group["params"]), group["repeats"], strict=True))
        counts = zip(case.out["param_names"], case.out[key].tolist(), strict=True)
        assert {ours[official]: n for official, n in counts if n} == listed
