"""Discriminators, projection heads and small parts give the official numbers."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.parity.fill import fill_tensor
from tests.parity.official_networks import cached_fill, fill, manifest
from uda_hydra.losses.adversarial import (
    gradient_penalty,
    least_squares_discriminator,
    least_squares_generator,
)
from uda_hydra.models.adain import AdainDecoder
from uda_hydra.models.aspp_cat import SqueezeExcite
from uda_hydra.models.batch_norm import FixedBatchNorm
from uda_hydra.models.discriminators import Fc3x3, FcPix2pix, MultiScale, PixelDiscriminator
from uda_hydra.models.projectors import projector

LAYOUTS = {
    "adaptseg_fc": "disc_adaptseg_fc",
    "advent_fc": "disc_advent_fc",
    "proda_fc": "disc_proda_fc",
    "proda_low": "disc_proda_fc",
    "proda_class": "disc_proda_class",
    "proca_pixel": "disc_proca_pixel",
    "cacovan_ms": "disc_cacovan_ms",
}
PENALTY = 0.01


def discriminator(kind: str, num_classes: int, channels: int) -> nn.Module:
    """Ours without memory for its weights."""
    with torch.device("meta"):
        if kind.endswith("pixel"):
            return PixelDiscriminator(channels, num_classes)
        if kind.startswith("proda"):
            return Fc3x3(num_classes, low=kind == "proda_low")
        return MultiScale(num_classes) if kind == "cacovan_ms" else FcPix2pix(num_classes)


def filled(case, kind: str, num_classes: int, channels: int = 0) -> tuple[nn.Module, dict]:
    """Ours with the case's weights in float64, and our name of every official entry."""
    module = discriminator(kind, num_classes, channels)
    names = fill(module, case, LAYOUTS[kind])
    return module.double(), names


def quantised(case, group, key: str = "input") -> Tensor:
    """The shared map that the case names, in float64."""
    return group["shared"].inputs[case.args[key].rsplit("/", 1)[-1]].double() / 16


def assert_gradients(module: nn.Module, names: dict[str, str], listed, norms, rel: float) -> None:
    parameters = dict(module.named_parameters())
    assert {names[official] for official in listed} == {*parameters}
    for official, norm in zip(listed, norms.tolist(), strict=True):
        gradient = parameters[names[official]].grad
        if norm < 0:
            assert gradient is None, official
        else:
            assert gradient.norm().item() == pytest.approx(norm, rel=rel, abs=1e-14), official


@pytest.mark.parametrize(
    ("kind", "num_classes"),
    [*((k, 19) for k in LAYOUTS), *((k, 16) for k in ("adaptseg_fc", "advent_fc", "proda_fc"))],
)
def test_discriminators_give_the_official_scores_and_gradients(reference, kind, num_classes):
    group = reference("networks")
    case = group[f"disc_{kind}_{num_classes}"]
    x = quantised(case, group)
    if kind != "proca_pixel":
        x = x[:, :num_classes].softmax(dim=1)
    module, names = filled(case, kind, num_classes, x.shape[1])
    x.requires_grad_()
    scores = module(x)
    scores = scores if isinstance(scores, list) else [scores]
    assert len(scores) == sum(re.fullmatch(r"d\d", key) is not None for key in case.out)
    loss = sum(F.binary_cross_entropy_with_logits(s, torch.zeros_like(s)) for s in scores)
    loss.backward()
    for index, score in enumerate(scores):
        official = case.out[f"d{index}"].double()
        torch.testing.assert_close(score.detach(), official, rtol=1e-5, atol=1e-5)
    assert loss.item() == pytest.approx(case.out["loss_bce0"], rel=1e-9)
    steps = (1, 64) if kind == "proca_pixel" else (1, 4, 8, 8)
    part = x.grad[tuple(slice(None, None, step) for step in steps)]
    torch.testing.assert_close(part, case.out["grad_x_sub"].double(), rtol=1e-4, atol=1e-9)
    assert x.grad.norm().item() == pytest.approx(case.out["grad_x_l2"], rel=1e-9)
    assert_gradients(module, names, case.out["grad_names"], case.out["grad_l2"], rel=1e-9)


def test_every_discriminator_is_compared(reference):
    found = {re.sub(r"^disc_|_\d+$", "", name) for name in reference("networks").names("disc_")}
    assert found - {"cacovan_ms_losses"} == {*LAYOUTS}


def test_least_squares_over_scales_with_its_penalty(reference):
    group = reference("networks")
    case = group["disc_cacovan_ms_losses"]
    z = group["shared"].inputs["z_q"][:1].double() / 16
    fake = z.softmax(dim=1)
    real = z.flip(3).roll(3, dims=1).softmax(dim=1).requires_grad_()
    salted = group["disc_cacovan_ms_19"]
    assert salted.args["salt"] == case.args["salt"]
    module, names = filled(salted, "cacovan_ms", z.shape[1])
    scores = module(real)
    penalty = PENALTY * gradient_penalty(scores, real)
    loss = least_squares_discriminator(module(fake), scores) + penalty
    loss.backward()
    assert loss.item() == pytest.approx(case.out["dis_loss"], rel=1e-7)
    assert penalty.item() == pytest.approx(case.out["dis_reg"], rel=1e-7)
    listed, norms = case.out["dis_grad_names"], case.out["dis_grad_l2"]
    assert_gradients(module, names, listed, norms, rel=1e-7)
    generator = least_squares_generator(module(fake)).item()
    assert generator == pytest.approx(case.out["gen_loss"], rel=1e-7)


PROJECTION_HEADS = {
    "proca_projhead_convmlp": (
        "proca",
        {"proj.0": "fc1", "proj.1": "norm1", "proj.3": "fc2"},
    ),
    "proca_projhead_linear": ("proca_linear", {"proj": "fc"}),
}


@pytest.mark.parametrize("name", PROJECTION_HEADS)
def test_projection_heads_of_proca(reference, name):
    group = reference("networks")
    case = group[name]
    kind, names = PROJECTION_HEADS[name]
    x = quantised(case, group).float()
    channels = x.shape[1]
    module = projector(kind, (channels // 8, channels // 4, channels // 2, channels)).eval()
    weights = {}
    for key, shape in manifest(name):
        place, entry = key.rsplit(".", 1)
        weights[f"{names[place]}.{entry}"] = fill_tensor(key, tuple(shape), case.args["salt"])
    module.load_state_dict(weights)
    with torch.inference_mode():
        y = module(x)
    assert [*y.shape] == case.out["y_shape"].tolist()
    part = case.out["y_sub"]
    torch.testing.assert_close(y[:, :, ::8, ::8], part, rtol=0, atol=1e-5)
    assert y.norm().item() == pytest.approx(case.out["y_l2"], rel=1e-5)
    assert y.abs().max().item() == pytest.approx(case.out["y_absmax"], rel=1e-5)


def test_decoder_of_style_transfer(reference):
    group = reference("networks")
    case = group["cfcontra_decoder"]
    decoder = AdainDecoder()
    official = [key for key, _ in manifest("cfcontra_decoder")]
    shapes = {key: tuple(shape) for key, shape in manifest("cfcontra_decoder")}
    ours = decoder.state_dict()
    assert [tuple(value.shape) for value in ours.values()] == [*shapes.values()]
    salt = case.args["salt"]
    values = [cached_fill(key, shapes[key], salt) for key in official]
    decoder.load_state_dict(dict(zip(ours, values, strict=True)))
    x = quantised(case, group).float()[:1, :512]
    with torch.inference_mode():
        y = decoder(x)
    bound = 1e-5 * float(case.out["y"].abs().max().clamp(min=1))
    torch.testing.assert_close(y, case.out["y"].float(), rtol=0, atol=bound)


def test_fixed_batch_norm_has_no_epsilon(reference):
    case = reference("networks")["unit_frozenbn"]
    module = FixedBatchNorm(len(case.inputs["weight"])).double()
    module.load_state_dict({key: case.inputs[key] for key in module.state_dict()})
    y = module(case.inputs["x"])
    torch.testing.assert_close(y, case.out["y"], rtol=1e-10, atol=1e-10)


def test_squeeze_and_excitation(reference):
    case = reference("networks")["unit_se"]
    x = case.inputs["x"].double()
    hidden = int(case.inputs["shapes"][0].split(",")[0])
    module = SqueezeExcite(x.shape[1], reduction=x.shape[1] // hidden)
    names = {"se.0": "fc1", "se.2": "fc2"}
    weights = {}
    for key, shape in zip(case.inputs["keys"], case.inputs["shapes"], strict=True):
        place, entry = key.rsplit(".", 1)
        size = tuple(int(n) for n in shape.split(","))
        weights[f"{names[place]}.{entry}"] = fill_tensor(key, size, case.args["salt"])
    module.load_state_dict(weights)
    torch.testing.assert_close(module.double()(x), case.out["y"].double(), rtol=1e-10, atol=1e-10)
