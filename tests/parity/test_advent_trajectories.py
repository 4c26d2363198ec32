"""Four steps of AdvEnt and MinEnt, through the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.parity.closeness import close
from tests.parity.official_networks import load, official_weights
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
from uda_hydra.methods.minent import MinEnt
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.types import IGNORE, SUFFIX, Source, Target

MINENT = ["minent", "minent_strong", "minent_repeat"]
ADVENT = ["advent", "advent_strong", "advent_single"]
TERMS = {
    "seg_src": ("seg", 1.0),
    "ent": ("ent", 1.0),
    "adv_trg": ("adv", 1.0),
    "d": ("disc_target", 0.5),
}
"""Our term of each official one, and the factor between them."""


def weights_of(case) -> dict[str, dict[str, Tensor]]:
    """Official weights by player: the segmenter's keys have no prefix."""
    players: dict[str, dict[str, Tensor]] = {"": {}, "d_aux.": {}, "d_main.": {}}
    for key, value in official_weights(case).items():
        prefix = next((p for p in players if p and key.startswith(p)), "")
        players[prefix][key.removeprefix(prefix)] = value
    return players


def segmenter(case) -> Player:
    args = case.args
    multi_level = bool(args["multi_level"])
    name = "advent" if multi_level else "advent_single"
    classes = args["num_classes"]
    return segmenter_of(name, weights_of(case)[""], num_classes=classes, multi_level=multi_level)


def batch(case, step: int, precision: torch.dtype) -> tuple[Source, Target]:
    images, others = (case.inputs[f"images_{d}"][step].to(precision) for d in ("source", "target"))
    label = case.inputs["labels_source"][step]
    known = (label >= 0) & (label < case.args["num_classes"])
    return Source(images, label.where(known, IGNORE)), Target(others)


def trainer(case, method: Method, folder: Path, weights: dict[str, float]) -> Trainer:
    args = case.args
    rates = {"lr": "lr", "discriminator_lr": "lr_d", "horizon": "max_iters"}
    rates |= {key: key for key in ("momentum", "weight_decay", "power")}
    overrides = [f"optimizer.{ours}={args[official]}" for ours, official in rates.items()]
    overrides.append(f"optimizer.backbone_repeats={args['sgd_repeat'] == 'official'}")
    for head, suffix in SUFFIX.items():
        weights[f"seg{suffix}"] = args[f"lambda_seg_{head}"]
    return trainer_of(method, folder, *overrides, weights=weights)


def compare(case, taught: Trainer, players: dict[str, Player], precision: torch.dtype) -> None:
    """Take the steps; raw terms, final state and what the network then answers are official."""
    before, out = state(players), case.out
    for step in range(case.args["iterations"]):
        values = take_step(taught, step, *batch(case, step, precision))
        for official, (term, factor) in TERMS.items():
            for head, suffix in SUFFIX.items():
                expected = out.get(f"loss_{official}_{head}", torch.zeros(step + 1))[step]
                ours = factor * values.get(f"loss/{term}{suffix}", torch.zeros(()))
                close(ours, expected, rtol=1e-3)
    after = state(players)
    assert {*after} == {*out["final_keys"]}
    assert_state(out, out["final_keys"], before, after, mean_atol=1e-5, delta=(1e-2, 1e-6))
    assert_answers(case, players[""].network.eval(), precision)


def assert_answers(case, network: nn.Module, precision: torch.dtype) -> None:
    """Logits of the first target image."""
    with torch.inference_mode():
        seen = network(batch(case, 0, precision)[1].image[:1])
    for head, ours in (("main", seen.main), ("aux", seen.aux)):
        assert (ours is None) == (f"probe_{head}" not in case.out)
        if ours is not None:
            close(ours, case.out[f"probe_{head}"], rtol=1e-3, atol=5e-4)


@pytest.mark.parametrize(("name", "precision"), runs(MINENT, ["minent_strong"]))
def test_minent(reference, tmp_path, name, precision):
    case = reference("advent")[f"traj_{name}"]
    players = {"": segmenter(case)}
    method = MinEnt(players[""].network, hardest=1.0, prior_strictness=None)
    weights = {f"ent{s}": case.args[f"lambda_ent_{head}"] for head, s in SUFFIX.items()}
    weights |= {"prior": 0.0, "prior_aux": 0.0}
    taught = trainer(case, method.to(precision), tmp_path, weights)
    compare(case, taught, players, precision)


@pytest.mark.parametrize(("name", "precision"), runs(ADVENT, ["advent_strong"]))
def test_advent(reference, tmp_path, name, precision):
    case = reference("advent")[f"traj_{name}"]
    players = {"": segmenter(case)}
    official = weights_of(case)
    width = len(official["d_main."]["0.weight"])
    method = OutputAdversarial(
        players[""].network,
        view="self_information",
        gan="vanilla",
        discriminator_target_label=1,
        discriminator_width=width,
    )
    for head, discriminator in method.discriminators.items():
        names = load(discriminator, official[f"d_{head}."], "disc_advent_fc")
        players[f"d_{head}."] = Player(discriminator, names)
    weights = dict.fromkeys((t for t in method.terms if t.startswith("disc")), 0.5)
    weights |= {f"adv{s}": case.args[f"lambda_adv_{head}"] for head, s in SUFFIX.items()}
    taught = trainer(case, method.to(precision), tmp_path, weights)
    compare(case, taught, players, precision)


def test_every_training_is_compared(reference):
    names = {name.removeprefix("traj_") for name in reference("advent").names("traj_")}
    assert names == {*MINENT, *ADVENT}
