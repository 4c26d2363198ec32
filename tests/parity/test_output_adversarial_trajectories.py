"""Four steps of AdaptSegNet, MaxSquare and Adversarial_DA_Exp, through the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.official_networks import drawn, load
from tests.parity.trajectories import (
    Player,
    assert_state,
    runs,
    segmenter_of,
    state,
    take_step,
    trainer_of,
)
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.base import Method
from uda_hydra.methods.maxsquare import MaxSquare
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.methods.source_only import SourceOnly
from uda_hydra.types import IGNORE, Source, Target

TERMS = {
    "seg_main": "seg",
    "seg_aux": "seg_aux",
    "adv_main": "adv",
    "adv_aux": "adv_aux",
    "d_src_main": "disc_source",
    "d_src_aux": "disc_source_aux",
    "d_tgt_main": "disc_target",
    "d_tgt_aux": "disc_target_aux",
    "target_main": "target",
    "guidance_aux": "guidance_aux",
}
"""Our name of the official terms."""
ADVERSARIAL = [
    "adaptseg_multi", "adaptseg_multi_repeats", "adaptseg_single", "adaptseg_multi_ls",
    "advexp_single", "advexp_multi", "advexp_single_v3plus", "advexp_single_official_bug",
]  # fmt: skip
CONFIDENT = ["maxsquare_single", "iw_maxsquare_multi", "hard_multi"]


def segmenter(case, name: str, *, multi_level: bool) -> Player:
    network = "adaptseg_multi" if name.startswith("adaptseg") else "maxsquare"
    if name.endswith("v3plus"):
        network = "ybao_v3plus"
    weights = drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])
    classes = case.args["num_classes"]
    return segmenter_of(network, weights, num_classes=classes, multi_level=multi_level)


def batch(data, step: int, size: int, precision: torch.dtype) -> tuple[Source, Target]:
    """The step's images: ``size`` of them from the one of the step's number on, in a circle."""
    images, labels, others = (
        data.inputs[key].roll(-step, dims=0)[:size]
        for key in ("src_images", "src_labels", "tgt_images")
    )
    label = labels.where(labels >= 0, IGNORE)
    return Source(images.to(precision), label), Target(others.to(precision))


def trainer(case, method: Method, folder: Path, weights: dict[str, float]) -> Trainer:
    args = case.args
    rates = [f"optimizer.{key}={args[name]}" for key, name in
             (("lr", "lr"), ("discriminator_lr", "lr_d"), ("horizon", "max_iter"))
             if name in args]  # fmt: skip
    repeats = f"optimizer.backbone_repeats={bool(args.get('repeats', 0))}"
    return trainer_of(method, folder, *rates, repeats, weights=weights)


def compare(
    case, data, taught: Trainer, players: dict[str, Player], precision: torch.dtype
) -> None:
    """Take the steps; every raw term and the final state are the official ones."""
    before = state(players)
    size = case.args.get("batch_size", 1)
    for step in range(len(case.out["loss_seg_main"])):
        values = take_step(taught, step, *batch(data, step, size, precision))
        losses = {key: case.out[f"loss_{key}"] for key in TERMS if f"loss/{TERMS[key]}" in values}
        assert len(losses) == len(values)
        for key, official in losses.items():
            close(values[f"loss/{TERMS[key]}"], official[step], rtol=2e-3, atol=1e-5)
    names, after = case.out["state_names"], state(players)
    # With one level, ours have neither an auxiliary head nor its discriminator.
    assert all(key.startswith(("seg/layer5.", "d_aux/")) for key in {*names} - {*after})
    delta = (3e-2 if case.name.endswith("v3plus") else 2e-2, 5e-7)
    assert_state(case.out, names, before, after, mean_atol=2e-5, delta=delta)


@pytest.mark.parametrize(
    ("name", "precision"), runs(ADVERSARIAL, ["adaptseg_multi", "adaptseg_multi_ls"])
)
def test_adversarial(reference, tmp_path, name, precision):
    group = reference("output_adversarial")
    case = group[f"traj_{name}"]
    args = case.args
    multi_level = bool(args.get("multi", "multi" in name))
    players = {"seg/": segmenter(case, name, multi_level=multi_level)}
    shapes = case.inputs["shapes_disc"]
    method = OutputAdversarial(
        players["seg/"].network,
        view="probability",
        gan=args["gan"].lower(),
        discriminator_target_label=0 if args.get("official_label_bug", 0) else 1,
        discriminator_width=int(shapes[0].split(",")[0]),
    )
    for head, discriminator in method.discriminators.items():
        weights = drawn(case.inputs["keys_disc"], shapes, args[f"salt_d_{head}"])
        names = load(discriminator, weights, "disc_adaptseg_fc")
        players[f"d_{head}/"] = Player(discriminator, names)
    weights = dict.fromkeys((t for t in method.terms if t.startswith("disc")), 0.5)
    weights |= {"seg": 1.0, "seg_aux": args["lambda_seg"]}
    weights |= {"adv": args["lambda_adv_main"], "adv_aux": args["lambda_adv_aux"]}
    taught = trainer(case, method.to(precision), tmp_path, weights)
    compare(case, group["traj_data"], taught, players, precision)


def test_source(reference, tmp_path):
    group = reference("output_adversarial")
    case = group["traj_source_multi"]
    players = {"seg/": segmenter(case, "source", multi_level=bool(case.args["multi"]))}
    method = SourceOnly(players["seg/"].network, channel_shuffle="none")
    weights = {"seg": 1.0, "seg_aux": case.args["lambda_seg"]}
    taught = trainer(case, method, tmp_path, weights)
    compare(case, group["traj_data"], taught, players, torch.float32)


def noted(monkeypatch, name: str) -> list[float]:
    """Share of pixels that a function of the losses labels, call by call."""
    shares, function = [], getattr(L, name)

    def note(*arguments, **options):
        label = function(*arguments, **options)
        shares.append((label != IGNORE).double().mean().item())
        return label

    monkeypatch.setattr(L, name, note)
    return shares


@pytest.mark.parametrize(("name", "precision"), runs(CONFIDENT, ["iw_maxsquare_multi"]))
def test_confident(reference, tmp_path, monkeypatch, name, precision):
    group = reference("output_adversarial")
    case = group[f"traj_{name}"]
    args = case.args
    players = {"seg/": segmenter(case, name, multi_level=bool(args["multi"]))}
    method = MaxSquare(
        players["seg/"].network,
        target_mode=args["mode"].lower(),
        iw_ratio=args["ratio"],
        threshold=args["threshold"],
    )
    weights = {"seg": 1.0, "seg_aux": args["lambda_seg"], "target": args["lambda_target"]}
    weights["guidance_aux"] = args["lambda_seg"] * args["lambda_target"]
    shares = {"guidance": noted(monkeypatch, "guiding_label")}
    shares["hard"] = noted(monkeypatch, "confident_label")
    taught = trainer(case, method.to(precision), tmp_path, weights)
    compare(case, group["traj_data"], taught, players, precision)
    for kind, ours in shares.items():
        expected = case.out.get(f"mask_fraction_{kind}", torch.empty(0))
        close(ours, expected, rtol=0, atol=2e-3)


def test_every_training_is_compared(reference):
    names = {n.removeprefix("traj_") for n in reference("output_adversarial").names("traj_")}
    assert names == {*ADVERSARIAL, *CONFIDENT, "source_multi", "data"}
