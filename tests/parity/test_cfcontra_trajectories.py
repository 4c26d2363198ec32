"""Steps of CFContra's official training, through the Trainer."""

from __future__ import annotations

import pytest
import torch

from tests.parity.cfcontra_methods import cfcontra, noted
from tests.parity.closeness import close
from tests.parity.official_networks import fill, small
from tests.parity.trajectories import Player, assert_state, runs, state, take_step, trainer_of
from uda_hydra.types import IGNORE, SUFFIX, Source, Target

TERMS = {
    "seg_src_main": "seg",
    "seg_src_aux": "seg_aux",
    "ent_main": "ent",
    "ent_aux": "ent_aux",
    "contra_src": "contrast_s",
    "contra_tgt": "contrast_t",
    "contra_t2s": "contrast_t2s",
    "contra_s2t": "contrast_s2t",
}
"""Our term of each official one."""
CASES = ["default", "strong", "legacy", "argmax", "all_rejected"]


def weights_of(args: dict[str, object]) -> dict[str, float]:
    weights = {f"contrast_{kind}": args[f"lambda_{kind}"] for kind in ("s", "t", "s2t", "t2s")}
    for head, suffix in SUFFIX.items():
        weights[f"seg{suffix}"] = args[f"lambda_seg_{head}"]
        weights[f"ent{suffix}"] = args[f"lambda_ent_{head}"]
    return weights


def trainer(case, method, folder):
    args = case.args
    rates = {"lr": "lr", "horizon": "max_iters"}
    rates |= {key: key for key in ("momentum", "weight_decay", "power")}
    overrides = [f"optimizer.{ours}={args[official]}" for ours, official in rates.items()]
    overrides.append(f"optimizer.backbone_repeats={args['sgd_repeat'] == 'official'}")
    return trainer_of(method, folder, *overrides, weights=weights_of(args))


def method_of(case, network):
    args = case.args
    method = cfcontra(
        network,
        temperature=args["temp"],
        memory_momentum=args["memory_momentum"],
        pseudo_label="centre" if args["pseudolabel_cluster"] else "argmax",
        margin=args["threshold"],
        margin_schedule="poly" if args["adjthresholdpoly"] else "constant",
        margin_power=args["threshold_power"],
        margin_horizon=args["max_iters"],
        norm_euclid=bool(args["norm_euclid"]),
        grad_memory=args["grad_memory"],
    )
    method.source_memory.centres.copy_(case.inputs["src_memory"])
    method.target_memory.centres.copy_(case.inputs["tgt_memory"])
    return method


def batch(case, step, precision):
    images, others = (case.inputs[f"images_{d}"][step].to(precision) for d in ("source", "target"))
    label = case.inputs["labels_source"][step]
    known = (label >= 0) & (label < case.args["num_classes"])
    return Source(images, label.where(known, IGNORE)), Target(others)


@pytest.mark.parametrize(("name", "precision"), runs(CASES, ["strong", "legacy"]))
def test_trajectory(reference, tmp_path, monkeypatch, name, precision):
    case = reference("cfcontra")[f"traj_cf_{name}"]
    kind, out = f"cfcontra_{case.args['head']}", case.out
    network = small(kind, case.args["num_classes"])
    players = {"": Player(network, fill(network, case, kind))}
    method = method_of(case, network).to(precision)
    taught = trainer(case, method, tmp_path)
    _, labels = noted(monkeypatch)

    before = state(players)
    for step in range(case.args["iterations"]):
        values = take_step(taught, step, *batch(case, step, precision))
        for official, term in TERMS.items():
            close(values[f"loss/{term}"], out[f"loss_{official}"][step], rtol=1e-3)
        if "pseudo_labels" in out:
            assert labels[2 * step + 1].equal(out["pseudo_labels"][step][:, 0])
    after = state(players)
    assert {*after} == {*out["final_keys"]}
    assert_state(out, out["final_keys"], before, after, mean_atol=1e-5, delta=(1e-2, 1e-6))
    for memory, prefix in ((method.source_memory, "src"), (method.target_memory, "tgt")):
        expected = out[f"{prefix}_memory_every16"]
        close(memory.centres[:, ::16], expected, rtol=1e-3, atol=5e-5)
    with torch.inference_mode():
        seen = network.eval()(batch(case, 0, precision)[1].image[:1])
    close(seen.main, out["probe_main"], rtol=1e-3, atol=5e-4)


def test_every_training_is_compared(reference):
    names = {name.removeprefix("traj_cf_") for name in reference("cfcontra").names("traj_")}
    assert names == {*CASES}
