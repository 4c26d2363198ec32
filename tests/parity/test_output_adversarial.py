"""Losses of AdaptSegNet, MaxSquare and Adversarial_DA_Exp, against the official numbers."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.official_networks import fill
from uda_hydra.methods.maxsquare import MaxSquare
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.types import IGNORE

PRECISIONS = (torch.float32, torch.float64)
KINDS = {"bce": "vanilla", "vanilla": "vanilla", "ls": "ls"}
close_gradient = partial(close, rtol=1e-3, atol=1e-8)


def free(case, name: str, precision: torch.dtype) -> Tensor:
    """An input whose gradient is asked for."""
    return case.inputs[name].to(precision).requires_grad_()


def ours(label: Tensor, num_classes: int) -> Tensor:
    """The labels with everything that is no class as ours mark it."""
    return label.where((label >= 0) & (label < num_classes), IGNORE)


def adversarial(case, kind: str) -> tuple[OutputAdversarial, dict[str, nn.Parameter]]:
    """Ours of a segmenter with one head; the discriminator's parameters by official name."""
    segmenter = nn.Module()
    segmenter.aux_head = None
    width, segmenter.num_classes, *_ = (int(n) for n in case.inputs["shapes"][0].split(","))
    assert segmenter.num_classes == case.args["num_classes"]
    ours = OutputAdversarial(
        segmenter,
        view="probability",
        gan=kind,
        discriminator_target_label=L.TARGET,
        discriminator_width=width,
    )
    names = fill(ours.discriminators["main"], case, "disc_adaptseg_fc")
    parameters = dict(ours.discriminators["main"].named_parameters())
    return ours, {official: parameters[name] for official, name in names.items()}


@pytest.mark.parametrize("name", ["disc_forward", "disc_forward_odd"])
def test_scores_of_the_discriminator(reference, name):
    case = reference("output_adversarial")[name]
    discriminator = adversarial(case, "vanilla")[0].discriminators["main"]
    close(discriminator(case.inputs["x"]), case.out["y"], atol=1e-5)


@pytest.mark.parametrize("kind", ["vanilla", "ls"])
def test_the_segmenter_against_the_discriminator(reference, kind):
    case = reference("output_adversarial")[f"disc_adv_{kind}"]
    assert case.args["label"] == L.SOURCE
    ours, parameters = adversarial(case, kind)
    logits = free(case, "logits", torch.float32)
    scores = ours.discriminators({"main": L.probabilities(logits)})
    close(scores["main"], case.out["d_out"])
    loss = L.adversarial("adv", scores, L.SOURCE, kind=kind)["adv"]
    loss.backward(inputs=[logits])
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"])
    assert all(parameter.grad is None for parameter in parameters.values())


@pytest.mark.parametrize("kind", ["vanilla", "ls"])
def test_the_discriminator_on_both_domains(reference, kind):
    case = reference("output_adversarial")[f"disc_train_{kind}"]
    assert (case.args["label_src"], case.args["label_tgt"]) == (L.SOURCE, L.TARGET)
    ours, parameters = adversarial(case, kind)
    on_source, on_target = (
        L.gan(ours.discriminators["main"](L.probabilities(logits)), domain, kind=kind)
        for domain, logits in (
            (L.SOURCE, case.inputs["logits_src"]),
            (L.TARGET, case.inputs["logits_tgt"]),
        )
    )
    total = (on_source + on_target) / 2
    total.backward()
    close(on_source, case.out["loss_src"])
    close(on_target, case.out["loss_tgt"])
    close(total, case.out["loss_total"])
    for i, name in enumerate(case.out["grad_names"]):
        gradient = parameters[name].grad
        close(gradient.norm(), case.out["grad_l2"][i], rtol=1e-3, atol=1e-7)
        close(gradient.mean(), case.out["grad_mean"][i], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["bce_label0", "bce_label1", "ls_label0", "ls_label1"])
def test_adversarial_criterion(reference, name, precision):
    case = reference("output_adversarial")[f"gan_{name}"]
    scores = free(case, "d_out", precision)
    loss = L.gan(scores, case.args["label"], kind=KINDS[name.split("_")[0]])
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(scores.grad, case.out["grad_d_out"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["source_ce", "source_ce_all_ignored"])
def test_source(reference, name, precision):
    case = reference("output_adversarial")[name]
    logits = free(case, "logits", precision)
    loss = L.segmentation(logits, ours(case.inputs["label"], logits.shape[1]))
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_source_of_two_heads(reference, precision):
    case = reference("output_adversarial")["source_ce_multi"]
    main, aux = (free(case, f"logits_{head}", precision) for head in ("main", "aux"))
    label = ours(case.inputs["label"], main.shape[1])
    loss = L.segmentation(main, label) + case.args["lambda_seg"] * L.segmentation(aux, label)
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(main.grad, case.out["grad_logits_main"])
    close_gradient(aux.grad, case.out["grad_logits_aux"])


VARIANTS = ("", "_batch", "_absent", "_ratio0", "_ratio1")
TARGETS = [
    "maxsquare", "maxsquare_onehot", "iw_maxsquare_onehot", "entropy", "entropy_saturated",
    "hard", "hard_none", *(f"iw_{kind}{v}" for kind in ("maxsquare", "entropy") for v in VARIANTS),
]  # fmt: skip


def method(name: str, case) -> MaxSquare:
    """The method whose target loss is the case's."""
    mode = re.match(r"(iw_)?[a-z]+", name)[0]
    return MaxSquare(
        nn.Identity(),
        target_mode=mode,
        iw_ratio=float(case.args.get("ratio", 0.0)),
        threshold=float(case.args.get("threshold", 0.0)),
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TARGETS)
def test_target_losses(reference, name, precision):
    case = reference("output_adversarial")[name]
    given = "prob" if "prob" in case.inputs else "logits"
    values = free(case, given, precision)
    probability = values if given == "prob" else L.probabilities(values)
    chosen = method(name, case)
    loss = chosen.target_loss(values, probability)
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(values.grad, case.out[f"grad_{given}"])
    if "label" in case.out:
        label = L.confident_label(probability, chosen.threshold, inclusive=False)
        assert label.equal(ours(case.out["label"], values.shape[1]))


def test_every_target_loss_is_compared(reference):
    names = reference("output_adversarial").names()
    found = {n for n in names if re.match(r"(iw_)?(maxsquare|entropy)|hard", n)}
    assert found == {*TARGETS, "iw_maxsquare_label", "iw_maxsquare_label_all_ignored"}


@pytest.mark.parametrize("name", ["iw_maxsquare_label", "iw_maxsquare_label_all_ignored"])
def test_classes_counted_in_a_label(reference, name):
    case = reference("output_adversarial")[name]
    logits = free(case, "logits", torch.float32)
    probability = L.probabilities(logits)
    classes = logits.shape[1]
    label = ours(case.inputs["label"], classes)
    weights = L.pixel_weights(probability, ratio=case.args["ratio"], label=label)
    loss = -L.image_wise(probability.square().sum(dim=1), weights, num_classes=classes)
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"])


def test_class_weights(reference):
    case = reference("output_adversarial")["iw_weights"]
    weights = L.class_weights(case.inputs["counts"][None], ratio=case.args["ratio"])
    close(weights[0], case.out["weights"])


@pytest.mark.parametrize("name", ["self_guidance", "self_guidance_none"])
def test_guidance(reference, name):
    case = reference("output_adversarial")[name]
    main, aux = (free(case, f"logits_{head}", torch.float32) for head in ("main", "aux"))
    probabilities = [L.probabilities(logits) for logits in (main, aux)]
    label = L.guiding_label(*probabilities, threshold=case.args["threshold"])
    loss = L.segmentation(aux, label)
    loss = case.args["lambda_seg"] * case.args["lambda_target"] * loss
    loss.backward()
    assert label.equal(ours(case.out["label"], main.shape[1]))
    close((label != IGNORE).float().mean(), case.out["mask_fraction"])
    close(loss, case.out["loss"])
    close_gradient(aux.grad, case.out["grad_logits_aux"])
    assert main.grad is None
