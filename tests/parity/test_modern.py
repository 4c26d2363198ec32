"""The parts of DACS, DAFormer and MIC against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.parity.closeness import close
from uda_hydra.augment.margins import Margins, inside_margins
from uda_hydra.augment.mask import block_cells, block_mask
from uda_hydra.augment.mix import choose_half, class_mask, mix, present_values
from uda_hydra.augment.photometric import Jitter
from uda_hydra.augment.variation import Variation, happens, vary
from uda_hydra.engine.protocols import slide
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.memory import EmaTeacher, ema_momentum
from uda_hydra.models.tokens import hide
from uda_hydra.types import IGNORE, Crop, Mirror, Normalization, Resize, View


def test_momentum_of_the_teacher(reference):
    case = reference("modern")["ema_schedule"]
    found = [ema_momentum(i, case.args["alpha"]) for i in case.inputs["iteration"].tolist()]
    close(found, case.out["a"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ema_steps", "ema_steps_early"])
def test_teacher_keeps_its_buffers(reference, name):
    case = reference("modern")[name]
    channels, inputs = case.inputs["teacher_conv_weight"].shape[:2]
    keys = {"conv": nn.Conv2d(inputs, channels, 3), "bn": nn.BatchNorm2d(channels)}
    student = nn.ModuleDict(keys)
    teacher = EmaTeacher(student)

    def fill(module: nn.Module, who: str, step: int | None = None) -> None:
        for key, tensor in module.state_dict().items():
            value = torch.as_tensor(case.inputs[f"{who}_{key.replace('.', '_')}"])
            tensor.copy_(value if step is None else value[step])

    fill(teacher.network, "teacher")
    for step in range(len(case.out["teacher_conv_bias"])):
        fill(student, "student", step)
        momentum = ema_momentum(step, case.args["alpha"])
        teacher.follow(student, momentum=momentum, buffers="keep")
        for key, tensor in teacher.network.state_dict().items():
            expected = case.out[f"teacher_{key.replace('.', '_')}"][step]
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)


def test_teacher_of_dacs_follows_after_the_step(reference):
    case = reference("modern")["ema_dacs_original"]
    student = nn.Linear(case.inputs["teacher"].shape[1], len(case.inputs["teacher"]), bias=False)
    teacher = EmaTeacher(student)
    teacher.network.weight.copy_(case.inputs["teacher"])
    for step, (weight, expected) in enumerate(
        zip(case.inputs["student"], case.out["teacher"], strict=True)
    ):
        with torch.no_grad():
            student.weight.copy_(weight)
        teacher.follow(student, momentum=ema_momentum(step, case.args["alpha"]), buffers="keep")
        torch.testing.assert_close(teacher.network.weight.data, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["pseudo_label", "pseudo_label_low", "pseudo_label_at_threshold"])
def test_pseudo_labels_share_one_weight(reference, name):
    case = reference("modern")[name]
    confidence, label = L.probabilities(case.inputs["logits"]).max(dim=1)
    share = L.confident_share(confidence, case.args["threshold"], over="batch")
    assert torch.equal(label, case.out["label"])
    assert round(share.item() * label.numel()) == case.out["count"]
    close(share.item(), case.out["q"], rtol=1e-6)
    if "weight" in case.out:
        torch.testing.assert_close(share.expand_as(confidence), case.out["weight"])


@pytest.mark.parametrize("name", ["rows", "rows_none", "rows_top_only"])
def test_margins_of_rows(reference, name):
    case = reference("modern")[f"pseudo_margin_{name}"]
    weight = case.inputs["weight"]
    height, width = weight.shape[1:]
    margins = Margins(case.args["top"] / height, case.args["bottom"] / height, 0, 0)
    inside = inside_margins(View((width, height)), margins)
    assert torch.equal(weight * inside, case.out["weight"])


def margins_of(args: dict) -> Margins:
    rows, columns = args["full_h"], args["full_w"]
    upright = args["top"] / rows, args["bottom"] / rows
    return Margins(*upright, args["left"] / columns, args["right"] / columns)


@pytest.mark.parametrize("name", ["mask", "mask_resized"])
def test_margins_of_the_whole_picture(reference, name):
    case = reference("modern")[f"pseudo_margin_{name}"]
    a = case.args
    found = []
    for (y, x), flip in zip(
        case.inputs["offset_yx"].tolist(), case.inputs["flip"].tolist(), strict=True
    ):
        resize = Resize(a["resized_w"], a["resized_h"])
        turn = (Mirror(),) if flip else ()
        crop = Crop(x, y, a["crop_w"], a["crop_h"])
        view = View((a["full_w"], a["full_h"]), (resize, crop, *turn))
        found.append(inside_margins(view, margins_of(a)))
    inside = torch.stack(found)
    assert torch.equal(inside.to(torch.uint8), case.out["mask"])
    assert torch.equal(case.inputs["weight"] * inside, case.out["weight"])


def test_margins_of_a_crop_beyond_the_picture(reference):
    case = reference("modern")["pseudo_margin_mask_padded"]
    # The offset is 0 along a side that the crop exceeds.
    y, x = case.inputs["offset_yx"].tolist()
    crop = Crop(x, y, case.args["crop_w"], case.args["crop_h"])
    view = View((case.args["full_w"], case.args["full_h"]), (crop,))
    found = inside_margins(view, margins_of(case.args))
    assert torch.equal(found.to(torch.uint8), case.out["mask"])


def test_gates_of_jitter_and_blur(reference):
    case = reference("modern")["augment_gates"]
    for key, probability in {"jitter": 0.8, "blur": 0.5}.items():
        found = [happens(u, probability) for u in case.inputs["u"].tolist()]
        assert found == case.out[key].bool().tolist()


def loss_options(name: str) -> dict:
    if "original" in name:
        return {"over": "valid" if "source" in name else "all", "align_corners": True}
    return {"over": "all", "align_corners": False}


@pytest.mark.parametrize(
    "name",
    [
        "source",
        "weighted",
        "weighted_zero",
        "all_ignored",
        "dacs_original_source",
        "dacs_original_source_all_ignored",
        "dacs_original_mixed",
    ],
)
def test_cross_entropy(reference, name):
    case = reference("modern")[f"ce_{name}"]
    logits = case.inputs["logits"].requires_grad_()
    weight = case.inputs.get("weight")
    loss = L.segmentation(logits, case.inputs["label"], weight, **loss_options(name))
    loss.backward()
    close(loss.detach(), case.out["loss"], rtol=1e-5)
    torch.testing.assert_close(logits.grad, case.out["grad_logits"], rtol=1e-5, atol=1e-8)


def test_rates(reference):
    names = reference("modern").names("lr_schedule")
    assert len(names) == 3
    for name in names:
        case = reference("modern")[name]
        found = [
            rate_factor(
                i,
                horizon=case.args["iterations"],
                power=1.0,
                warmup_steps=case.args["warmup"],
                warmup_start=case.args["warmup_ratio"],
            )
            for i in case.inputs["iteration"].tolist()
        ]
        expected = torch.tensor(found, dtype=torch.float64)[:, None] * case.inputs["base"]
        close(expected, case.out["lr"], rtol=1e-9, atol=0)
    case = reference("modern")["lr_dacs_original"]
    options = {"horizon": case.args["iterations"], "power": case.args["power"]}
    found = [rate_factor(i, **options) for i in case.inputs["iteration"].tolist()]
    close(case.args["base"] * torch.tensor(found, dtype=torch.float64), case.out["lr"], rtol=1e-9)


@pytest.mark.parametrize("suffix", ["", "_ties", "_not_multiple", "_batch"])
def test_majority_of_a_cell(reference, suffix):
    case = reference("modern")[f"label_downscale{suffix}"]
    found = L.majority_label(
        case.inputs["label"],
        case.args["scale"],
        min_share=case.args["min_ratio"],
        num_classes=case.args["classes"],
    )
    assert torch.equal(found, case.out["label"])


def distance_of(case, feature: Tensor, initial: Tensor, label: Tensor) -> Tensor:
    return case.args["weight"] * L.feature_distance(
        feature,
        initial,
        label,
        classes=case.args["things"].tolist(),
        min_share=case.args["min_ratio"],
        num_classes=case.args["classes"],
    )


@pytest.mark.parametrize("suffix", ["", "_all_classes", "_equal", "_empty"])
def test_feature_distance(reference, suffix):
    case = reference("modern")[f"fd{suffix}"]
    feature = case.inputs["feature"].requires_grad_()
    loss = distance_of(case, feature, case.inputs["feature0"], case.inputs["label"])
    loss.backward()
    close(loss.detach(), case.out["loss"], rtol=1e-5)
    torch.testing.assert_close(feature.grad, case.out["grad_feature"], rtol=1e-5, atol=1e-6)
    cells = L.majority_label(
        case.inputs["label"],
        case.inputs["label"].shape[-1] // feature.shape[-1],
        min_share=case.args["min_ratio"],
        num_classes=case.args["classes"],
    )
    assert torch.equal(cells, case.out["cells"])
    # A cell counts if its feature pulls.
    moved = (case.inputs["feature0"] + 1).requires_grad_()
    distance_of(case, moved, case.inputs["feature0"], case.inputs["label"]).backward()
    assert torch.equal(moved.grad.ne(0).any(dim=1), case.out["selected"].bool())


def test_feature_distance_of_two_scales(reference):
    case = reference("modern")["fd_both_scales"]
    top, bottom, left, right = case.inputs["box_y1y2x1x2"].tolist()
    whole = case.inputs["label"]
    labels = {"lr": whole, "hr": whole[:, top:bottom, left:right]}
    total = 0
    for key, label in labels.items():
        feature = case.inputs[f"feature_{key}"].requires_grad_()
        loss = distance_of(case, feature, case.inputs[f"feature0_{key}"], label)
        loss.backward()
        expected = case.out[f"grad_feature_{key}"]
        torch.testing.assert_close(feature.grad, expected, rtol=1e-5, atol=1e-6)
        total += loss.detach()
    close(total, case.out["loss"], rtol=1e-5)


@pytest.mark.parametrize("name", ["mic_target", "mic_target_augmented"])
def test_hidden_blocks(reference, name):
    case = reference("modern")[name]
    inputs, a = case.inputs, case.args
    normalize = Normalization("rgb", 1.0, inputs["mean"].tolist(), inputs["std"].tolist())
    image = normalize(inputs["target"])
    size, cells = image.shape[-2:], inputs["R"]
    assert block_cells(size, a["block"]) == tuple(cells.shape[-2:])
    if "sigma" in inputs:
        image = vary(image, shared_variation(inputs, len(image)), normalize)
    found = image * block_mask(cells, size, ratio=a["ratio"])
    torch.testing.assert_close(found, case.out["image"], rtol=1e-4, atol=5e-5)
    assert torch.equal(inputs["pseudo"], case.out["label"])
    assert torch.equal(inputs["weight"], case.out["weight"])


def test_hidden_blocks_of_a_pair(reference):
    """A clear day and an adverse one: the first source image with its label, the first target."""
    case = reference("modern")["mic_pair"]
    inputs, a = case.inputs, case.args
    normalize = Normalization("rgb", 1.0, inputs["mean"].tolist(), inputs["std"].tolist())
    image = normalize(torch.stack([inputs["source"][0], inputs["target"][0]]))
    shown = block_mask(inputs["R"], image.shape[-2:], ratio=a["ratio"])
    torch.testing.assert_close(image * shown, case.out["image"], rtol=1e-5, atol=1e-6)
    label = torch.stack([inputs["label"][0], inputs["pseudo"][0]])
    assert torch.equal(label, case.out["label"])
    weight = torch.stack([torch.ones_like(inputs["weight"][0]), inputs["weight"][0]])
    assert torch.equal(weight, case.out["weight"])


def shared_variation(inputs: dict, count: int) -> Variation:
    """Of MIC: own factors, one order and one blur for all images."""
    order = tuple(inputs["order"].tolist())
    factors = zip(*(inputs[key].tolist() for key in "bcgh"), strict=True)
    jitter, blur = (happens(u, p) for u, p in zip(inputs["u"].tolist(), (0.8, 0.5), strict=True))
    jitters = tuple(Jitter(*one, order) for one in factors) if jitter else ()
    return Variation(jitters, (inputs["sigma"],) * count if blur else ())


@pytest.mark.parametrize("name", ["slide_test", "slide_test_uneven"])
def test_windows_of_an_evaluation(reference, name):
    case = reference("modern")[name]
    ramp, a = case.inputs["ramp"], case.args
    found = slide(lambda w: w * ramp, case.inputs["image"], [a["crop"]] * 2, [a["stride"]] * 2)
    torch.testing.assert_close(found, case.out["logits"], rtol=1e-5, atol=1e-6)


def test_rates_of_vfm_uda(reference):
    case = reference("modern")["vfm_lr_schedule"]
    a = case.args
    warmup = a["warmup"] - 1
    for step, factor in zip(case.inputs["iteration"].tolist(), case.out["factor"], strict=True):
        found = rate_factor(
            step,
            horizon=a["iterations"],
            power=1.0,
            warmup_steps=warmup,
            warmup_start=a["start"],
            warmup_decays=False,
        )
        # There one more step has the full rate.
        expected = 1 - warmup / a["iterations"] if step == warmup else factor
        close(found, expected, rtol=1e-9, atol=0)


def test_hidden_tokens(reference):
    case = reference("modern")["vfm_token_mask"]
    tokens, token = case.inputs["tokens"], case.inputs["mask_token"][0]
    found = hide(tokens, case.inputs["R"], token, share=case.args["ratio"])
    assert torch.equal(found, case.out["tokens"])


def test_pseudo_labels_of_image_and_mirror(reference):
    case = reference("modern")["vfm_pseudo"]
    looks = [case.inputs["logits"], case.inputs["logits_of_flipped_image"].flip(-1)]
    confidence, label = (sum(L.probabilities(z) for z in looks) / 2).max(dim=1)
    share = L.confident_share(confidence, case.args["threshold"], over="batch")
    inside = case.inputs["ignore_mask"] == 0
    torch.testing.assert_close(share * inside, case.out["weight"])
    assert torch.equal(label, case.out["label"])


def test_unlabelled_pixels_that_are_pasted_cost_nothing(reference):
    """There they weigh 0; here the cross-entropy ignores them."""
    case = reference("modern")["vfm_mix"]
    inputs = case.inputs
    present = present_values(inputs["label"], batch_wide=True)
    scores = torch.ones(present.shape)
    for i, choice in enumerate(inputs["choice"].tolist()):
        scores[i, present[i].nonzero()[choice, 0]] = 0
    mask = class_mask(inputs["label"], choose_half(present, scores))
    assert torch.equal(mix(mask, inputs["source"], inputs["target"]), case.out["image"])
    label = mix(mask, inputs["label"], inputs["pseudo"])
    assert torch.equal(label, case.out["label"])
    weight = mix(mask, torch.ones_like(inputs["weight"]), inputs["weight"])
    assert torch.equal(weight * (label != IGNORE), case.out["weight"] * (label != IGNORE))
    assert case.out["weight"][label == IGNORE].eq(0).all()
