"""Small networks, optimiser and scores of AdaptSegNet and its heirs, against the official ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.label_spaces import numbered
from tests.parity import closeness
from tests.parity.official_networks import NETWORKS, drawn, load, small
from tests.parity.test_metrics import share
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA13, SYNTHIA16
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.engine.optimizers import RepeatedSGD
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.engine.scores import Scores
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import upsample

SCORES = ("eval19", "eval19_absent", "eval13_absent", "eval19_empty")
SUBSETS = ("eval16", "eval16_absent", "eval19_sub16_13")
close = partial(closeness.close, rtol=1e-3, atol=1e-4)


def network(group, case, name: str) -> Segmenter:
    """Ours with the case's weights, and all stages kept; a case without keys borrows them."""
    inputs = case.inputs or group["deeplabv2_eval"].inputs
    segmenter = small(name, case.args["num_classes"])
    weights = drawn(inputs["keys"], inputs["shapes"], case.args["salt"])
    load(segmenter, weights, NETWORKS[name].layout)
    segmenter.keep_stages = True
    return segmenter


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_two_heads(reference, mode):
    group = reference("output_adversarial")
    case, image = group[f"deeplabv2_{mode}"], group["net_data"].inputs["x"]
    segmenter = network(group, case, "adaptseg_multi").train(mode == "train")
    seen = segmenter(image)
    stride = case.args["out_stride"]
    for head, logits in (("main", seen.main), ("aux", seen.aux)):
        whole = upsample(logits, image.shape[2:])
        close(whole[:, :, ::stride, ::stride], case.out[head])
        close(whole.norm(), case.out[f"{head}_l2"])
    if mode == "train":
        norm = segmenter.backbone.layer4[0].bn3
        close(norm.running_mean, case.out["running_mean_layer4"])
        close(norm.running_var, case.out["running_var_layer4"])


def test_two_heads_before_enlargement(reference):
    group = reference("output_adversarial")
    case = group["deeplabv2_lowres"]
    seen = network(group, case, "adaptseg_multi").eval()(group["net_data"].inputs["x"])
    close(seen.main, case.out["main"])
    close(seen.aux, case.out["aux"])


def test_deeplabv3plus(reference):
    group = reference("output_adversarial")
    case, image = group["deeplabv3plus_eval"], group["net_data"].inputs["x"]
    segmenter = network(group, case, "ybao_v3plus").eval()
    fused = []
    segmenter.main_head.aspp.register_forward_hook(lambda *call: fused.append(call[-1]))
    seen = segmenter(image)
    stride = case.args["out_stride"]
    whole = upsample(seen.main, image.shape[2:])
    close(whole[:, :, ::stride, ::stride], case.out["logits"])
    parts = {
        "logits": whole, "aspp": fused[0], "backbone": seen.stages[3], "low_level": seen.stages[0],
    }  # fmt: skip
    for name, map in parts.items():
        close(map.norm(), case.out[f"{name}_l2"])
        if f"{name}_shape" in case.out:
            assert [*map.shape] == case.out[f"{name}_shape"].tolist()


def test_learning_rates(reference):
    case = reference("output_adversarial")["lr_poly"]
    args = case.args
    decay = [
        rate_factor(step, horizon=args["max_iter"], power=args["power"])
        for step in case.inputs["iters"].tolist()
    ]
    rates = {"backbone": args["lr"], "head": 10 * args["lr"], "disc": args["lr_d"]}
    for name, rate in rates.items():
        ours = rate * torch.tensor(decay, dtype=torch.float64)
        assert_close(ours, case.out[f"f64_lr_{name}"], rtol=1e-9, atol=0)


def test_repeated_updates(reference):
    case = reference("output_adversarial")["sgd_repeats"]
    args = case.args
    parameters = [nn.Parameter(row.clone()) for row in case.inputs["params"]]
    optimizer = RepeatedSGD(
        [{"params": parameters, "repeats": case.inputs["repeats"].tolist()}],
        accumulate_decay=False,
        lr=args["lr"],
        momentum=args["momentum"],
        weight_decay=args["weight_decay"],
    )
    for gradients, expected in zip(case.inputs["grads"], case.out["params_after"], strict=True):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        assert_close(torch.stack(parameters).detach(), expected, rtol=1e-5, atol=1e-8)


def same(ours: object, official: object) -> None:
    np.testing.assert_allclose(ours, official, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", SCORES)
def test_scores(reference, name):
    case = reference("output_adversarial")[name]
    ours = Scores(case.inputs["confusion"].numpy(), numbered(case.args["num_classes"]))
    # The release calls the accuracy of no pixel 0.
    same(np.nan_to_num(ours.pixel_accuracy), case.out["pa"])
    same(ours.iou, case.out["iou_per_class"])
    same(ours.mean_accuracy, case.out["mpa"])
    same(ours.miou, case.out["miou"])
    same(ours.mean_precision, case.out["mprec"])
    # A sum over no class is 0 in ours and all other releases, and nan in this one.
    same(ours.fwiou if ours.confusion.any() else np.nan, case.out["fwiou"])


@pytest.mark.parametrize("name", SUBSETS)
def test_scores_of_16_and_13_classes(reference, name):
    case = reference("output_adversarial")[name]
    space = {19: CITYSCAPES19, 16: SYNTHIA16}[case.args["num_classes"]]
    whole = Scores(case.inputs["confusion"].numpy(), space)
    same(whole.pixel_accuracy, case.out["pa"])
    same(whole.iou, case.out["iou_per_class"])
    for size, kept in ((16, SYNTHIA16), (13, SYNTHIA13)):
        ours = whole.subset(kept.names)
        same(ours.mean_accuracy, case.out[f"mpa_{size}"])
        same(ours.miou, case.out[f"miou_{size}"])
        same(ours.mean_precision, case.out[f"mprec_{size}"])
        # Theirs is divided by the pixels of all classes, ours by those of the classes scored.
        same(ours.fwiou * share(whole, ours), case.out[f"fwiou_{size}"])


def test_every_score_is_compared(reference):
    assert {*reference("output_adversarial").names("eval")} == {*SCORES, *SUBSETS}


def test_counting_of_pixels(reference):
    case = reference("output_adversarial")["confusion"]
    size = case.args["num_classes"]
    truth = case.inputs["gt"]
    truth = torch.where((truth >= 0) & (truth < size), truth, 255).to(torch.uint8)
    ours = count_pixels(truth, case.inputs["pred"].to(torch.uint8), size)
    assert ours.equal(case.out["matrix"])
