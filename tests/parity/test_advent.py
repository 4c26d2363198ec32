"""Losses, networks, optimiser and ensemble of ADVENT, against the official numbers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.conftest import composed, protocol
from tests.label_spaces import numbered
from tests.parity.closeness import close
from tests.parity.official_networks import load, official_weights, renamed, small
from uda_hydra.config import settings
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.engine.optimizers import build_optimizers, set_rates
from uda_hydra.engine.protocols import label_map, look
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.engine.scores import Scores
from uda_hydra.methods.base import Player
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.models.discriminators import FcPix2pix
from uda_hydra.models.ensemble import Ensemble
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import IGNORE, Normalization, Prediction, Target

PRECISIONS = (torch.float32, torch.float64)
MAPS = ("basic", "saturated", "onehot", "uniform")
close_gradient = partial(close, rtol=1e-3, atol=1e-6)


def free(case, name: str, precision: torch.dtype = torch.float32) -> Tensor:
    """An input whose gradient is asked for."""
    return case.inputs[name].to(precision).requires_grad_()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", MAPS)
def test_entropy(reference, kind, precision):
    case = reference("advent")[f"entropy_{kind}"]
    probability = free(case, "prob", precision)
    loss = L.entropy(probability)
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(probability.grad, case.out["grad_prob"])
    if "logits" in case.inputs:
        logits = free(case, "logits", precision)
        L.entropy(L.probabilities(logits)).backward()
        close_gradient(logits.grad, case.out["grad_logits"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", MAPS)
def test_self_information(reference, kind, precision):
    case = reference("advent")[f"selfinfo_{kind}"]
    probability = free(case, "prob", precision)
    map = L.self_information(probability)
    (map * case.inputs["upstream"]).sum().backward()
    close(map, case.out["map"])
    # Where the probability is 0 the gradient is large.
    atol = 1e-5 if kind == "onehot" else 1e-6
    close_gradient(probability.grad, case.out["grad_prob"], atol=atol)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["bce_source", "bce_target", "bce_extreme"])
def test_adversarial_criterion(reference, name, precision):
    case = reference("advent")[name]
    scores = free(case, "logits", precision)
    loss = L.gan(scores, case.args["label"], kind="vanilla")
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(scores.grad, case.out["grad_logits"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["ce_basic", "ce_one_image_ignored", "ce_all_ignored"])
def test_source(reference, name, precision):
    case = reference("advent")[name]
    logits, label = free(case, "logits", precision), case.inputs["labels"]
    loss = L.segmentation(logits, label.where((label >= 0) & (label < logits.shape[1]), IGNORE))
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"])


def test_entropy_ranking(reference):
    case = reference("advent")["paper_entropy_ranking"]
    probability = free(case, "prob")
    loss = L.entropy(probability, hardest=case.args["fraction"])
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(probability.grad, case.out["grad_prob"])


def test_class_prior(reference):
    case = reference("advent")["paper_class_prior"]
    probability = free(case, "prob")
    loss = L.class_prior(probability, case.inputs["prior"], strictness=case.args["mu"])
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(probability.grad, case.out["grad_prob"])


def size_of(case) -> tuple[int, int]:
    """Height and width of the enlarged logits."""
    return case.args["out_h"], case.args["out_w"]


def test_entropy_of_enlarged_logits(reference):
    case = reference("advent")["chain_entropy"]
    logits = free(case, "logits")
    whole = L.logits(Prediction(logits, None, features=logits), size_of(case))["main"]
    loss = L.entropy(L.probabilities(whole))
    loss.backward()
    close(whole[0, :, case.args["out_h"] // 3], case.out["upsampled_row"])
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"], atol=1e-8)


def adversarial(case) -> tuple[OutputAdversarial, dict[str, str]]:
    """Ours of a segmenter with one head; our name of the discriminator's official entries."""
    segmenter = nn.Module()
    segmenter.aux_head = None
    weights = official_weights(case)
    width, segmenter.num_classes, *_ = weights["d_main.0.weight"].shape
    ours = OutputAdversarial(
        segmenter,
        view="self_information",
        gan="vanilla",
        discriminator_target_label=L.TARGET,
        discriminator_width=width,
    )
    names = {key: renamed("disc_advent_fc", key.removeprefix("d_main.")) for key in weights}
    state = {name: weights[official] for official, name in names.items()}
    ours.discriminators["main"].load_state_dict(state)
    return ours, names


def scores_of(ours: OutputAdversarial, case, logits: Tensor) -> dict[str, Tensor]:
    """What the discriminator makes of a head's logits."""
    image = torch.empty(len(logits), 3, *size_of(case))
    views = ours.views(Prediction(logits, None, features=logits), Target(image))
    return ours.discriminators(views)


def test_discriminator(reference):
    case = reference("advent")["discriminator"]
    args = case.args
    ours, _ = adversarial(case)
    shape = (1, args["num_classes"], args["h"], args["w"])
    noise = 0.3 * np.random.RandomState(case.inputs["x_seed"]).rand(*shape)
    x = torch.from_numpy(noise.astype(np.float32)).requires_grad_()
    scores = ours.discriminators["main"](x)
    (scores * case.inputs["upstream"]).sum().backward()
    close(scores, case.out["logits"])
    close_gradient(x.grad.norm(), case.out["grad_x_l2"])
    close_gradient(x.grad.sum(dim=(0, 2, 3)), case.out["grad_x_channel_sums"])


def test_the_segmenter_against_the_discriminator(reference):
    case = reference("advent")["chain_adversarial"]
    assert case.args["label"] == L.SOURCE
    logits = free(case, "logits")
    scores = scores_of(adversarial(case)[0], case, logits)
    loss = L.adversarial("adv", scores, L.SOURCE, kind="vanilla")["adv"]
    loss.backward()
    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"], atol=1e-8)


def test_the_discriminator_on_the_target(reference):
    case = reference("advent")["chain_discriminator"]
    assert case.args["label"] == L.TARGET
    ours, names = adversarial(case)
    scores = scores_of(ours, case, case.inputs["logits"])
    terms = L.adversarial("disc_target", scores, L.TARGET, kind="vanilla")
    loss = case.args["weight"] * terms["disc_target"]
    loss.backward()
    close(loss, case.out["loss"])
    parameters = dict(ours.discriminators["main"].named_parameters())
    for i, key in enumerate(case.out["grad_keys"]):
        gradient = parameters[names[key]].grad
        close_gradient(gradient.norm(), case.out["grad_l2"][i], atol=1e-8)
        close_gradient(gradient.sum(), case.out["grad_sum"][i], atol=1e-8)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_network(reference, mode):
    case = reference("advent")[f"network_{mode}"]
    weights = official_weights(case)
    segmenter = small("advent", len(weights["layer6.conv2d_list.0.bias"]))
    names = load(segmenter, weights, "advent")
    seen = segmenter.train(mode == "train")(case.inputs["image"])
    close(seen.main, case.out["main"], rtol=1e-3, atol=2e-4)
    close(seen.aux, case.out["aux"], rtol=1e-3, atol=2e-4)
    if mode == "train":
        buffers = dict(segmenter.named_buffers())
        norms = torch.stack([buffers[names[key]].norm() for key in case.out["bn_keys"]])
        close(norms, case.out["bn_l2"])


def test_learning_rates(reference):
    case = reference("advent")["lr_poly"]
    rows = zip(*(case.inputs[k].tolist() for k in ("base_lr", "max_iters", "power")), strict=True)
    ours = [
        [rate * rate_factor(step, horizon=horizon, power=power) for step in steps]
        for (rate, horizon, power), steps in zip(rows, case.inputs["iters"].tolist(), strict=True)
    ]
    close(torch.tensor(ours, dtype=torch.float64), case.out["lr"], rtol=1e-9, atol=0)


def advent_on_meta(multi_level: bool) -> Segmenter:
    return small("advent" if multi_level else "advent_single", num_classes=2)


def test_learning_rates_of_the_groups(reference):
    case = reference("advent")["lr_groups"]
    chosen = settings(composed("method=advent", "dataset=gta2city").optimizer)
    players = {
        "segmenter": Player(advent_on_meta(True), "segmenter"),
        "discriminators": Player(FcPix2pix(2), "discriminator"),
    }
    optimizers = build_optimizers(players, chosen)
    set_rates(optimizers.values(), case.args["iter"], chosen)
    for player, key in (("segmenter", "seg_lrs"), ("discriminators", "d_lrs")):
        rates = [group["lr"] for group in optimizers[player].param_groups]
        close(torch.tensor(rates, dtype=torch.float64), case.out[key], rtol=1e-9, atol=0)


@pytest.mark.parametrize("level", ["multi", "single"])
def test_parameter_groups(reference, level):
    case = reference("advent")[f"param_groups_{level}"]
    layout = "advent" if level == "multi" else "advent_single"
    ours = {key: renamed(layout, key) for part in ("group_1x", "group_10x", "frozen")
            for key in case.out[part]}  # fmt: skip
    segmenter = advent_on_meta(bool(case.args["multi_level"]))
    names = {parameter: name for name, parameter in segmenter.named_parameters()}
    backbone, heads = (
        dict(zip((names[p] for p in group["params"]), group["repeats"], strict=True))
        for group in segmenter.parameter_groups()
    )
    times = case.out["official_multiplicity_1x"].tolist()
    listed = zip(case.out["group_1x"], times, strict=True)
    assert backbone == {ours[key]: n for key, n in listed}
    assert {*heads} == {ours[key] for key in case.out["group_10x"]}
    frozen = {name for parameter, name in names.items() if not parameter.requires_grad}
    assert frozen == {ours[key] for key in case.out["frozen"]}


class Recorded(nn.Module):
    """Answers image ``i``, whose every pixel is i, with the i-th of the recorded logits."""

    normalization = Normalization("rgb", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    predict = Segmenter.predict

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Prediction:
        return Prediction(self.logits[int(image.max())][None], None, features=image)


def test_ensemble(reference):
    case = reference("advent")["evaluation_ensemble"]
    size = case.args["num_classes"]
    members = [Recorded(case.inputs[f"logits_{which}"]) for which in "ab"]
    both = Ensemble(members, case.args["weights"].tolist())
    chosen = protocol("advent")
    confusion = torch.zeros(size, size, dtype=torch.long)
    for i, label in enumerate(case.inputs["labels"]):
        image = torch.full((3, 8, 8), i, dtype=torch.uint8)
        looks = look(both, [image], chosen, device=torch.device("cpu"), bfloat16=False)
        prediction = label_map(looks, tuple(label.shape), chosen)
        assert prediction.long().equal(case.out["predictions"][i])
        truth = torch.where((label >= 0) & (label < size), label, IGNORE)
        confusion += count_pixels(truth.to(torch.uint8), prediction, size)
    assert confusion.equal(case.out["hist"])
    scores = Scores(confusion.numpy(), numbered(size))
    np.testing.assert_allclose(scores.iou, case.out["iou"], rtol=1e-9)
    assert round(100 * scores.miou, 2) == case.out["miou_percent"]
