"""Views, photometric operations, mixing and masks against the official numbers."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from uda_hydra.augment import colour
from uda_hydra.augment.guided import moved_crop
from uda_hydra.augment.mask import block_cells, block_mask
from uda_hydra.augment.mix import choose_half, class_mask, mix, present_values
from uda_hydra.augment.photometric import (
    Jitter,
    blur,
    blur_kernel,
    blur_length,
    brighten,
    change_contrast,
    jitter,
    jitter_normalised,
    saturate,
    shuffle_channels,
    turn_hue,
)
from uda_hydra.augment.picture import change_picture
from uda_hydra.augment.policies import (
    AUTO_POLICIES,
    GREY,
    auto_amount,
    auto_change,
    cut_out,
    rand_amount,
    rand_geometry,
    recolour,
)
from uda_hydra.augment.released import shifted_too_far
from uda_hydra.augment.resize import resize_image, resize_label
from uda_hydra.augment.view import fit_inside, output_size
from uda_hydra.augment.warp import warp, warp_batch
from uda_hydra.types import Crop, CutOut, Mirror, Resize, Rotate, Shear, Translate, View

OFFICIAL_IGNORE = 250
WARPS = [
    *("hflip", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "cutout", "all"),
    *("distance_map", "scale1"),
]
MASKS = ["", "_not_multiple", "_round_half_even", "_ratio0", "_ratio1"]


def strong_view(inputs, i: int, size: tuple[int, int]) -> View:
    """The operations of one sample in the release's fixed order; 1e4 stands for none."""
    amount = {
        key: float(inputs[key][i])
        for key in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    }
    given = {key: value for key, value in amount.items() if value != 1e4}
    made = [Mirror()] if inputs["hflip"][i] else []
    made += [Shear(given["shear_x"], 0.0)] if "shear_x" in given else []
    made += [Shear(0.0, given["shear_y"])] if "shear_y" in given else []
    made += [Translate(int(given["translate_x"]), 0)] if "translate_x" in given else []
    made += [Translate(0, int(given["translate_y"]))] if "translate_y" in given else []
    made += [Rotate(given["rotate"])] if "rotate" in given else []
    made += [CutOut(*inputs["cutout_x0y0x1y1"][i].tolist())]
    return View(size, tuple(made))


@pytest.mark.parametrize("name", [*WARPS, "translate_x_official"])
def test_warp_of_label_like_maps(reference, name):
    case = reference("proda")[f"warp_{name}"]
    stride, maps = case.args["scale"], case.inputs["map"]
    size = (maps.shape[-1] * stride, maps.shape[-2] * stride)
    views = tuple(strong_view(case.inputs, i, size) for i in range(len(maps)))
    if name.endswith("official"):
        views = shifted_too_far(views, stride=stride)
    found = warp_batch(maps, views, kind="feature", stride=stride, fill=case.args["padding"])
    wrong = ~torch.isclose(found, case.out["map"], rtol=1e-5, atol=1e-5)
    assert wrong.float().mean() <= 0.002


def test_feature_warp_of_the_weak_view(reference):
    case = reference("proda")["full2weak"]
    feature = case.inputs["feat"]
    size = (4 * feature.shape[-1], 4 * feature.shape[-2])
    views = []
    for (h, w), (y1, y2, x1, x2), flip in zip(
        case.inputs["resized_hw"].tolist(),
        case.inputs["crop_y1y2x1x2"].tolist(),
        case.inputs["flip"].tolist(),
        strict=True,
    ):
        mirror = (Mirror(),) if flip else ()
        views.append(View(size, (Resize(w, h), Crop(x1, y1, x2 - x1, y2 - y1), *mirror)))
    found = warp_batch(feature, tuple(views), kind="feature", stride=4)
    torch.testing.assert_close(found, case.out["feat"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["soft_pipeline_down", "soft_pipeline_up"])
def test_soft_label_of_a_crop(reference, name):
    case = reference("proda")[name]
    a = case.args
    crop = Crop(a["x1"], a["y1"], a["x2"] - a["x1"], a["y2"] - a["y1"])
    mirror = (Mirror(),) if a["flip"] else ()
    view = View((a["full_w"], a["full_h"]), (Resize(a["resized_w"], a["resized_h"]), crop, *mirror))
    found = warp(case.inputs["stored"], view, kind="soft", stride=4)
    torch.testing.assert_close(found, case.out["quarter"], rtol=1e-4, atol=1e-5)


def test_weak_view(reference):
    case = reference("proda")["weak_aug"]
    a, image = case.args, case.inputs["image"]
    width = int(a["resize"] * a["scale"])
    height = int(width * image.shape[0] / image.shape[1])
    assert [height, width] == case.out["resized_hw"].tolist()
    mirror = (Mirror(),) if a["flip"] else ()
    crop = Crop(a["x1"], a["y1"], a["crop_w"], a["crop_h"])
    view = View((image.shape[1], image.shape[0]), (Resize(width, height), crop, *mirror))
    assert output_size(view) == (a["crop_w"], a["crop_h"])
    found = warp(image.permute(2, 0, 1), view, kind="image", filter="bilinear")
    assert (found.permute(1, 2, 0).int() - case.out["image"].int()).abs().max() <= 1
    assert torch.equal(warp(case.inputs["label"], view, kind="label"), case.out["label"])


SNAKE = {"ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x"}
SNAKE |= {"TranslateY": "translate_y"}


def test_operations_of_rand_augment(reference):
    case = reference("proda")["strong_ops"]
    picture = Image.fromarray(case.inputs["image"].numpy())
    amounts = case.out["param64"].tolist()
    for text, amount, expected in zip(case.out["op"], amounts, case.out["image"], strict=True):
        official, strength, sign = text.split(":")
        name, strength, sign = (
            SNAKE.get(official, official.lower()),
            int(strength[2:]),
            int(sign[5:]),
        )
        operation = rand_geometry(name, strength, sign, picture.size)
        if operation is None:
            ours = rand_amount(name, strength)
            found = recolour(picture, name, ours)
        else:
            ours = next((float(part) for part in operation if part), 0.0)
            found = change_picture(picture, operation, fill=GREY)
        assert np.isnan(amount) or ours == pytest.approx(amount), text
        off = np.abs(np.asarray(found).astype(int) - expected.numpy())
        assert off.max() <= 1, text


def test_cut_out(reference):
    case = reference("proda")["strong_cutout"]
    picture = Image.fromarray(case.inputs["image"].numpy())
    centres = case.inputs["center_xy64"].tolist()
    for i, centre in enumerate(centres):
        operation = cut_out(picture.size, case.args["size"], tuple(centre))
        assert list(operation) == case.out["x0y0x1y1"][i].tolist()
        found = np.asarray(change_picture(picture, operation, fill=GREY))
        assert np.array_equal(found, case.out["image"][i].numpy())


def test_operations_of_auto_augment(reference):
    case = reference("caco")["autoaugment_ops"]
    picture = Image.fromarray(case.inputs["rgb"].numpy())
    for i, text in enumerate(case.inputs["ops"]):
        name, index, sign = text.split(",")
        assert auto_amount(name, int(index)) == pytest.approx(case.out["magnitude"][i].item())
        found = auto_change(picture, name, int(index), int(sign))
        assert np.array_equal(np.asarray(found), case.out["rgb"][i].numpy()), text
    assert len(AUTO_POLICIES) == case.args["n_policies"]
    for policy, chances, amounts in zip(
        AUTO_POLICIES, case.out["policy_p"], case.out["policy_magnitude"], strict=True
    ):
        assert [one.probability for one in policy] == chances.tolist()
        found = [auto_amount(one.name, one.index) for one in policy]
        assert found == pytest.approx(amounts.tolist())


@pytest.mark.parametrize("kind", ["official", "permute"])
def test_channel_shuffle(reference, kind):
    case = reference("caco")["channel_shuffle"]
    for choice in range(3):
        found = shuffle_channels(case.inputs["image"][None], [choice], kind)
        assert torch.equal(found[0], case.out[f"{kind}_{choice}"])


def test_views_of_retraining(reference):
    case = reference("caco")["load_stage2"]
    mean = case.args["mean_bgr"][:, None, None]
    rgb = case.inputs["rgb"].permute(2, 0, 1)
    size, base = (rgb.shape[2], rgb.shape[1]), case.args["resize_wh"].tolist()
    height, width = case.args["crop_hw"].tolist()
    for draw in range(4):
        label = case.inputs["pseudo_label_draw3" if draw == 3 else "pseudo_label"]
        scale = 0.8 + 0.4 * case.inputs[f"draw{draw}_scale_uniform"]
        scaled = [round(side * scale) for side in base]
        turn = (Mirror(),) if case.inputs[f"draw{draw}_mirror_uniform"] < 0.5 else ()
        row, column = case.inputs[f"draw{draw}_row_col"][-1].tolist()
        crop = Crop(column, row, width, height)
        views = {
            "_aug": View(size, (Resize(*scaled), crop, *turn)),
            "": View(size, (Resize(*base), moved_crop(crop, tuple(scaled), tuple(base)), *turn)),
        }
        for suffix, view in views.items():
            image = warp(rgb, view, kind="image").flip(0).float() - mean
            torch.testing.assert_close(
                image, case.out[f"draw{draw}_image{suffix}"], rtol=0, atol=1e-4
            )
            found = warp(label, view, kind="label")
            assert torch.equal(found, case.out[f"draw{draw}_label{suffix}"])


@pytest.mark.parametrize("name", ["resize_down", "resize_up", "random_scale"])
def test_resizing_of_proca(reference, name):
    case = reference("proca")[name]
    image, label, a = case.inputs["image"].numpy(), case.inputs["label"], case.args
    if name == "random_scale":
        scale = a["scale_lo"] + (a["scale_hi"] - a["scale_lo"]) * a["u"]
        size = (int(image.shape[1] * scale), int(image.shape[0] * scale))
    else:
        size = (a["out_w"], a["out_h"])
    found = resize_image(image, size).astype(int)
    assert np.abs(found - case.out["image"].numpy()).max() <= 1
    view = View((image.shape[1], image.shape[0]), (Resize(*size),))
    assert torch.equal(warp(label, view, kind="label"), case.out["label"])
    small = resize_label(label.numpy().astype(np.uint8), size)
    assert np.array_equal(small, case.out["label"].numpy())


def test_padded_crop_of_proca(reference):
    case = reference("proca")["pad_crop"]
    a, image = case.args, case.inputs["image"].permute(2, 0, 1)
    size = (image.shape[2], image.shape[1])
    # The missing amount is added on both sides, in the release before the crop is drawn.
    left, top = (max(0, a[f"crop_{s}"] - n) for s, n in zip("wh", size, strict=True))
    view = View(size, (Crop(a["left"] - left, a["top"] - top, a["crop_w"], a["crop_h"]),))
    found = warp(image, view, kind="image", fill=a["image_fill"])
    assert torch.equal(found.permute(1, 2, 0), case.out["image"])
    label = warp(case.inputs["label"], view, kind="label", fill=a["label_fill"])
    assert torch.equal(label, case.out["label"])


def test_blur_of_proca(reference, monkeypatch):
    """In the view of a source image, whose other changes are off."""
    case = reference("proca")["gaussian_blur"]
    assert case.args["kernel"] == 3, "ColourView always blurs with a 3x3 kernel"
    monkeypatch.setattr(colour, "jittered", lambda image, chosen: image)
    off = dict.fromkeys(("jitter", "hue", "grey", "mirror"), 0.0)
    blur = [case.args["sigma"]] * 2
    view = colour.ColourView("source", **off, blur=blur, scale_range=None, crop=None)
    image = case.inputs["image"].permute(2, 0, 1)
    height, width = image.shape[1:]
    seen = view.source(image, torch.zeros_like(image[0]), (width, height), Random(0))
    found = seen.image().permute(1, 2, 0)
    assert (found.int() - case.out["image"].int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brightness", brighten),
        ("contrast", change_contrast),
        ("saturation", saturate),
        ("hue", turn_hue),
    ],
)
def test_single_jitters(reference, name, change):
    case = reference("modern")[f"jitter_{name}"]
    pairs = zip(case.inputs["image"], case.inputs["factor"].tolist(), strict=True)
    found = torch.cat([change(image[None], factor) for image, factor in pairs])
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=1e-5)


def drawn_jitters(inputs, orders) -> list[Jitter]:
    factors = zip(*(inputs[key].tolist() for key in "bcgh"), strict=True)
    return [Jitter(*one, tuple(order)) for one, order in zip(factors, orders, strict=True)]


def test_jitter_in_all_orders(reference):
    case = reference("modern")["jitter_orders"]
    inputs, orders = case.inputs, case.inputs["order"].tolist()
    repeated = {key: inputs[key].expand(len(orders)) for key in "bcgh"}
    found = jitter_normalised(
        inputs["image"].expand(len(orders), -1, -1, -1),
        drawn_jitters(repeated, orders),
        mean=inputs["mean"].tolist(),
        std=inputs["std"].tolist(),
    )
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("name", ["mixed", "masked"])
def test_jitter_of_batches(reference, name):
    case = reference("modern")[f"jitter_{name}"]
    inputs = case.inputs
    order = inputs["order"].expand(len(inputs["image"]), 4).tolist()
    mean, std = inputs["mean"].tolist(), inputs["std"].tolist()
    found = jitter_normalised(inputs["image"], drawn_jitters(inputs, order), mean=mean, std=std)
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=5e-5)


def test_jitter_of_dacs_takes_blue_for_red(reference):
    case = reference("modern")["jitter_dacs_original"]
    chosen = drawn_jitters(case.inputs, [case.inputs["order"].tolist()])
    mean = case.inputs["mean_bgr"].tolist()
    found = jitter_normalised(case.inputs["image"], chosen, mean=mean, std=(1.0, 1.0, 1.0))
    torch.testing.assert_close(found, case.out["image"], rtol=1e-5, atol=3e-3)


def test_jitter_of_the_example(reference):
    case = reference("modern")["jitter_example"]
    for order, expected in zip(case.inputs["order"].tolist(), case.out["image"], strict=True):
        chosen = drawn_jitters(case.inputs, [order])
        found = jitter(case.inputs["image"][None], chosen)
        torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["64", "96", "128", "512", "non_square"])
def test_blur(reference, name):
    case = reference("modern")[f"blur_{name}"]
    for sigma, expected in zip(case.inputs["sigma"].tolist(), case.out["image"], strict=True):
        found = blur(case.inputs["image"][None], sigma)[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_blur_kernels(reference):
    case = reference("modern")["blur_kernel"]
    for n, length, kernels in zip(
        case.inputs["n"].tolist(), case.out["length"].tolist(), case.out["kernel"], strict=True
    ):
        assert blur_length(n) == length
        for sigma, kernel in zip(case.inputs["sigma"].tolist(), kernels, strict=True):
            found = torch.tensor(blur_kernel(length, sigma))
            torch.testing.assert_close(found, kernel[:length], rtol=1e-5, atol=1e-6)
    case = reference("modern")["blur_kernel_length"]
    assert [blur_length(n) for n in case.inputs["n"].tolist()] == case.out["length"].tolist()


def test_mix_then_jitter_then_blur(reference):
    case = reference("modern")["strong_transform"]
    inputs = case.inputs
    mean, std = inputs["mean"].tolist(), inputs["std"].tolist()
    shape = (1, 3, 1, 1)
    source, target = (
        (inputs[key].float() - inputs["mean"].view(shape)) / inputs["std"].view(shape)
        for key in ("source", "target")
    )
    mixed = mix(inputs["mask"].bool(), source, target)
    chosen = drawn_jitters(inputs, inputs["order"].tolist())
    seen = jitter_normalised(mixed, chosen, mean=mean, std=std)
    sigmas = inputs["sigma"].tolist()
    found = torch.cat([blur(one[None], sigma) for one, sigma in zip(seen, sigmas, strict=True)])
    torch.testing.assert_close(found, case.out["image"], rtol=1e-4, atol=5e-5)


def test_class_masks(reference):
    names = reference("modern").names("class_mask_")
    assert len(names) >= 13
    for name in names:
        case = reference("modern")[name]
        label, choices = case.inputs["label"], case.inputs["choice"].tolist()
        present = present_values(label, batch_wide=not case.args["own"])
        scores = torch.ones(present.shape)
        for i, choice in enumerate(choices):
            scores[i, present[i].nonzero()[[c for c in choice if c >= 0], 0]] = 0
        chosen = choose_half(present, scores)
        assert chosen.sum(1).tolist() == case.out["k"].tolist(), name
        assert torch.equal(class_mask(label, chosen).to(torch.uint8), case.out["mask"]), name


@pytest.mark.parametrize("name", ["mix_batch", "mix_own"])
def test_mixing(reference, name):
    case = reference("modern")[name]
    inputs, mask = case.inputs, case.inputs["mask"].bool()
    assert torch.equal(mix(mask, inputs["source"], inputs["target"]), case.out["image"])
    assert torch.equal(mix(mask, inputs["label"], inputs["pseudo"]), case.out["label"])
    ones = torch.ones_like(inputs["weight"])
    assert torch.equal(mix(mask, ones, inputs["weight"]), case.out["weight"])


@pytest.mark.parametrize("suffix", MASKS)
def test_block_masks(reference, suffix):
    case = reference("modern")[f"block_mask{suffix}"]
    size = (case.args["H"], case.args["W"])
    assert block_cells(size, case.args["block"]) == tuple(case.inputs["R"].shape[-2:])
    found = block_mask(case.inputs["R"], size, ratio=case.args["ratio"])
    assert torch.equal(found.to(torch.uint8), case.out["mask"])


def test_block_mask_of_tokens(reference):
    case = reference("modern")["block_mask_1120"]
    size, step = (case.args["H"], case.args["W"]), case.out["stride"]
    assert block_cells(size, case.args["block"]) == tuple(case.inputs["R"].shape[-2:])
    found = block_mask(case.inputs["R"], size, ratio=case.args["ratio"])[0, 0, ::step, ::step]
    assert np.array_equal(np.packbits(found.numpy()), case.out["mask"].numpy())


@pytest.mark.parametrize("name", ["resize_size_a", "resize_size_b", "resize_size_c"])
def test_sizes_that_keep_the_ratio(reference, name):
    case = reference("modern")[name]
    limit = (case.args["target_w"], case.args["target_h"])
    found = [fit_inside(tuple(size), limit) for size in case.inputs["size_wh"].tolist()]
    assert [list(size) for size in found] == case.out["size_wh"].tolist()
