"""The two scales of HRDA against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.fusing import fusing_head, named_in_head
from tests.parity.official_networks import drawn
from uda_hydra.models import hrda
from uda_hydra.models.backbone import Backbone
from uda_hydra.models.hrda import TwoScales, cover, draw_box, fuse, merged, places
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import Box, Normalization, upsample


@pytest.mark.parametrize("suffix", ["", "_small", "_div1"])
def test_windows_that_are_drawn(reference, monkeypatch, suffix):
    case = reference("modern")[f"hrda_window{suffix}"]
    a = case.args
    size, window = (a["H"], a["W"]), (a["crop"], a["crop"])
    choices = [places(side - a["crop"], a["divisible"]) for side in size]
    assert choices == case.out["choices_rows_cols"].tolist()
    for draws, box in zip(
        case.inputs["draw_rows_cols"].tolist(), case.out["box_y1y2x1x2"].tolist(), strict=True
    ):
        numbers = iter(draws)
        monkeypatch.setattr(torch, "randint", lambda high, shape, n=numbers: next(n))
        assert list(draw_box(size, window, aligned=a["divisible"])) == box


def box_of(case) -> Box | None:
    return Box(*case.inputs["box_y1y2x1x2"].tolist()) if "box_y1y2x1x2" in case.inputs else None


FUSIONS = ["", "_border", "_corner0", "_far", "_unaligned", "_no_window"]
FUSIONS += ["_fixed_attention", "_fixed_attention_no_window", "_single_attention"]


@pytest.mark.parametrize("suffix", FUSIONS)
def test_fusion_of_the_scales(reference, monkeypatch, suffix):
    case = reference("modern")[f"hrda_fuse{suffix}"]
    monkeypatch.setattr(hrda, "STRIDE", case.args["output_stride"])
    scales = case.args["lr_scale"], case.args["hr_scale"]
    assert scales == (0.5, 1.0), "ours sees the context at half the size and the detail at the full"
    inputs = {key: case.inputs[key].requires_grad_() for key in ("z_lr", "z_hr")}
    if "attention_logits" in case.inputs:
        inputs["attention_logits"] = case.inputs["attention_logits"].requires_grad_()
        attention = inputs["attention_logits"].sigmoid()
    else:
        attention = torch.full_like(inputs["z_lr"], case.args["fixed_attention"])
    if suffix == "_border" and "attention_logits" not in case.inputs:
        attention = torch.ones_like(inputs["z_lr"])
    z = fuse(inputs["z_lr"], inputs["z_hr"], attention, box_of(case))
    torch.testing.assert_close(z, case.out["z"], rtol=1e-5, atol=1e-6)
    (z * case.inputs["grad_z"]).sum().backward()
    for key, value in inputs.items():
        if f"grad_{key}" in case.out:
            found = torch.zeros_like(value) if value.grad is None else value.grad
            torch.testing.assert_close(found, case.out[f"grad_{key}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["", "_uneven", "_no_overlap", "_constant"])
def test_windows_that_cover_an_image(reference, monkeypatch, suffix):
    case = reference("modern")[f"hrda_slide{suffix}"]
    a = case.args
    monkeypatch.setattr(hrda, "STRIDE", a["output_stride"])
    size, window = (a["H"], a["W"]), (a["crop"], a["crop"])
    boxes = cover(size, window, overlap=bool(a["overlapping"]))
    assert [list(box) for box in boxes] == case.out["boxes_y1y2x1x2"].tolist()
    logits = case.inputs["window_logits"].float().unflatten(0, (len(boxes), a["batch"]))
    found = merged(logits, boxes, size)
    torch.testing.assert_close(found, case.out["logits"], rtol=1e-5, atol=1e-6)
    count = merged(torch.ones_like(logits), boxes, size)
    torch.testing.assert_close(count, torch.ones_like(count))


def test_the_context_is_half_the_image(reference):
    case = reference("modern")["hrda_lr_image"]
    found = TwoScales.context(None, case.inputs["image"])
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=1e-6)


def test_a_blurred_detail_has_been_half_the_size(reference):
    case = reference("modern")["hrda_blurred_detail"]
    image = case.inputs["image"]
    found = upsample(TwoScales.context(None, image), image.shape[-2:], align_corners=False)
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["hrda_loss", "hrda_loss_no_weight", "hrda_loss_lr"])
def test_losses_of_the_scales(reference, name):
    """Of both together and of the detail; with a weight of its own, of the context too."""
    case = reference("modern")[name]
    whole = case.inputs["label"], case.inputs.get("weight")
    top, bottom, left, right = box_of(case)
    inside = [None if m is None else m[:, top:bottom, left:right] for m in whole]
    detail, context = case.args["hr_weight"], case.args["lr_weight"]
    parts = {"fused": ("z", 1 - detail - context, whole), "hr": ("z_hr", detail, inside)}
    if "z_lr" in case.inputs:
        parts["lr"] = ("z_lr", context, whole)
    total = 0
    for part, (key, share, shown) in parts.items():
        z = case.inputs[key].requires_grad_()
        loss = share * L.segmentation(z, *shown, over="all", align_corners=False)
        loss.backward()
        total += loss.detach()
        close(loss.detach(), case.out[f"loss_{part}"], rtol=1e-5)
        torch.testing.assert_close(z.grad, case.out[f"grad_{key}"], rtol=1e-5, atol=1e-8)
    close(total, case.out["loss"], rtol=1e-5)


class Recorded(Backbone):
    """Stages as recorded, in place of those of an image: of the context first, then the detail."""

    def __init__(self, case) -> None:
        super().__init__([case.inputs[f"lr_feature{i}"].shape[1] for i in range(4)])
        self.stages = iter(
            [
                [case.inputs[f"{scale}_feature{i}"].float() for i in range(4)]
                for scale in ("lr", "hr")
            ]
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(next(self.stages))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_heads_of_both_scales(reference, monkeypatch, mode):
    case = reference("modern")[f"hrda_head_{mode}"]
    weights = drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])
    head, attention = (fusing_head(weights, prefix) for prefix in ("head.", "scale_attention."))
    normalization = Normalization("rgb", 1.0, (0.0,) * 3, (1.0,) * 3)
    classes = head.classifier.out_channels
    inner = Segmenter(
        Recorded(case),
        head,
        main_reads=(0, 1, 2, 3),
        num_classes=classes,
        normalization=normalization,
    )
    height, width = (side * hrda.STRIDE * 2 for side in case.inputs["lr_feature0"].shape[-2:])
    boxes = case.inputs.get("boxes_y1y2x1x2")
    if mode == "train":
        box = box_of(case)
        monkeypatch.setattr(hrda, "draw_box", lambda *given: box)
    else:
        box = Box(*boxes[0].tolist())
    window = box.right - box.left, box.bottom - box.top
    if mode == "eval":
        assert [list(b) for b in cover((height, width), window)] == boxes.tolist()
    network = TwoScales(inner, attention, window=window)
    names = {}
    for key in weights:
        part, own = key.split(".", 1)
        names[key] = f"{'main_head' if part == 'head' else part}.{named_in_head(own)}"
    network.load_state_dict({names[key]: w for key, w in weights.items()})
    network.train(mode == "train")
    image = torch.zeros(len(case.inputs["lr_feature0"]), 3, height, width)
    with torch.set_grad_enabled(mode == "train"):
        found = network(image)
    stride = case.args["class_stride"]
    torch.testing.assert_close(found.main[:, ::stride], case.out["z"], rtol=1e-4, atol=2e-5)
    if mode == "train":
        logits = found.detail.logits[:, ::stride]
        torch.testing.assert_close(logits, case.out["z_hr"], rtol=1e-4, atol=2e-5)
        state = network.state_dict()
        for i, key in enumerate(case.out["bn_keys"]):
            value = state[names[key]].double()
            close(value.norm(), case.out["bn_norm64"][i], rtol=1e-4)
            close(value.mean(), case.out["bn_mean64"][i], rtol=1e-4, atol=2e-5)
