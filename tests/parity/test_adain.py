"""Style transfer by AdaIN, against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.parity.official_networks import official_weights
from uda_hydra.models.adain import (
    AdainDecoder,
    AdainEncoder,
    adain,
    decoder_losses,
    moments,
    recolour,
    transfer,
)


def networks(case) -> tuple[AdainEncoder, AdainDecoder, dict[str, str]]:
    """Both with the case's weights, and our name of each of the decoder's entries."""
    weights = official_weights(case)
    found, names = {}, {}
    for prefix, network in (("vgg.", AdainEncoder()), ("decoder.", AdainDecoder())):
        official = [key for key in weights if key.startswith(prefix)]
        names = dict(zip(official, network.state_dict(), strict=True))
        network.load_state_dict({ours: weights[key] for key, ours in names.items()})
        found[prefix] = network
    return found["vgg."], found["decoder."], names


def pictures(image: Tensor) -> Tensor:
    """uint8 (..., h, w, 3) as the networks' input."""
    return image.movedim(-1, -3).float() / 255


def test_moments(reference):
    case = reference("cfcontra")["adain_stats"]
    ours = moments(case.inputs["features"])
    assert_close(ours.mean, case.out["mean"], rtol=1e-4, atol=1e-6)
    assert_close(ours.std, case.out["std"], rtol=1e-4, atol=1e-6)


def test_adain(reference):
    case = reference("cfcontra")["adain_basic"]
    content = case.inputs["content"].requires_grad_()
    out = adain(content, case.inputs["style"])
    (out * case.inputs["upstream"]).sum().backward()
    assert_close(out.detach(), case.out["out"], rtol=1e-4, atol=1e-6)
    assert_close(content.grad, case.out["grad_content"], rtol=1e-3, atol=2e-2)


def test_transfer_of_four_styles(reference):
    case = reference("cfcontra")["adain_transfer_four_styles"]
    encoder, decoder, _ = networks(case)
    with torch.inference_mode():
        image = transfer(
            encoder,
            decoder,
            pictures(case.inputs["content"])[None],
            [style[None] for style in pictures(case.inputs["styles"])],
            weights=case.args["weights"].tolist(),
            alpha=case.args["alpha"],
        )
    assert_close(image, case.out["image"], rtol=1e-3, atol=1e-3)


def test_transfer_that_keeps_the_colours(reference):
    case = reference("cfcontra")["adain_transfer_preserve_color"]
    encoder, decoder, _ = networks(case)
    content, style = (pictures(case.inputs[name]) for name in ("content", "style"))
    with torch.inference_mode():
        style = recolour(style, content)
        options = {"weights": [1.0], "alpha": case.args["alpha"]}
        image = transfer(encoder, decoder, content[None], [style[None]], **options)
    assert_close(image, case.out["image"], rtol=1e-3, atol=1e-3)


def test_recolouring(reference):
    case = reference("cfcontra")["coral"]
    ours = recolour(case.inputs["source"], case.inputs["target"])
    assert_close(ours, case.out["out"], rtol=0, atol=1e-4)


def test_losses_of_the_decoder(reference):
    case = reference("cfcontra")["adain_decoder_loss"]
    encoder, decoder, names = networks(case)
    encoder.requires_grad_(False)
    images = [case.inputs[name][None] for name in ("content", "style")]
    losses = decoder_losses(encoder, decoder, *images, alpha=case.args["alpha"])
    (losses.content + case.args["style_weight"] * losses.style).backward()
    assert losses.content.item() == pytest.approx(case.out["loss_content"], rel=1e-3)
    assert losses.style.item() == pytest.approx(case.out["loss_style"], rel=1e-3)
    parameters = dict(decoder.named_parameters())
    norms = torch.stack([parameters[names[key]].grad.norm() for key in case.out["grad_keys"]])
    assert_close(norms, case.out["grad_l2"], rtol=1e-3, atol=1e-6)
