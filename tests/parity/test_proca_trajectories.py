"""Four steps of every training of ProCA, and of FADA, through the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.parity.closeness import close
from tests.parity.official_networks import drawn, load, official_weights
from tests.parity.trajectories import (
    PRECISIONS,
    Player,
    runs,
    segmenter_of,
    state,
    take_step,
    trainer_of,
)
from uda_hydra.engine.trainer import Trainer
from uda_hydra.memory.class_sums import class_sums
from uda_hydra.memory.prototypes import LEVELS, label_of, level_map
from uda_hydra.methods.base import Method
from uda_hydra.methods.fada import Fada
from uda_hydra.methods.proca import ProCA
from uda_hydra.methods.proca_bank import MemoryBank
from uda_hydra.methods.proca_labels import SelfTraining
from uda_hydra.methods.proca_source import LovaszSource
from uda_hydra.types import Source, Target

PROJECTION = {"proj.0": "fc1", "proj.1": "norm1", "proj.3": "fc2"}
LABELLING = {"threshold_percent": 0.6, "cap": 0.9, "test_size": None, "label_size": None}


def parts(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The segmenter's weights, and the other network's without its prefix."""
    own = {k: v for k, v in weights.items() if k.startswith(("feature_extractor.", "classifier."))}
    rest = {k.partition(".")[2]: v for k, v in weights.items() if k not in own}
    return own, rest


def segmenter(case, weights: dict[str, Tensor], network: str = "proca") -> Player:
    return segmenter_of(network, weights, num_classes=case.args["num_classes"], multi_level=False)


def teach(case, method: Method, folder: Path, weights: dict[str, float], *more: str) -> Trainer:
    a = case.args
    return trainer_of(
        method,
        folder,
        "model=proca_resnet101",
        f"optimizer.lr={a['base_lr']}",
        f"optimizer.horizon={a['max_iter']}",
        f"optimizer.power={a['power']}",
        f"optimizer.momentum={a['momentum']}",
        f"optimizer.weight_decay={a['weight_decay']}",
        *more,
        weights={"seg": 1.0, "seg_aux": 0.1} | weights,
    )


def batch(data, step: int, precision: torch.dtype) -> tuple[Source, Target]:
    """The step's images; a training without a target sees its source twice."""
    image, label = data.inputs["src_images"][step].to(precision), data.inputs["src_labels"][step]
    other = data.inputs["tgt_images"][step].to(precision) if "tgt_images" in data.inputs else image
    return Source(image, label), Target(other)


def assert_rates(taught: Trainer, case, step: int) -> None:
    backbone, heads = taught.optimizers["segmenter"].param_groups
    close(backbone["lr"], case.out["lr"][step], rtol=1e-9, atol=0)
    close(heads["lr"], 10 * case.out["lr"][step], rtol=1e-9, atol=0)


def assert_state(case, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    names = [name for name in case.out["final_names"] if not name.endswith("num_batches_tracked")]
    assert {*names} == {*after}
    for i, name in enumerate(case.out["final_names"]):
        end = after[name]
        close(end.norm(), case.out["final_l2"][i], rtol=1e-5, atol=1e-6)
        close(end.mean(), case.out["final_mean"][i], rtol=1e-5, atol=1e-6)
        change = (end - before[name]).norm()
        close(change, case.out["final_delta_l2"][i], rtol=5e-3, atol=5e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["traj_source", "traj_ssl"])
def test_supervised(reference, tmp_path, name, precision):
    case = reference("proca")[name]
    player = segmenter(case, official_weights(case))
    before = state({"": player})
    if name == "traj_source":
        method = LovaszSource(player.network)
        weights = {"lov": case.args["lambda_lov"]}
    else:
        method, weights = SelfTraining(player.network, labels=None, **LABELLING), {}
    taught = teach(case, method.to(precision), tmp_path, weights)
    for step, loss in enumerate(case.out["loss"].tolist()):
        source, target = batch(case, step, precision)
        target = target._replace(stored={"labels": source.label})
        values = take_step(taught, step, source, target)
        lov = values.get("loss/lov", 0.0)
        close(values["loss/seg"] + case.args["lambda_lov"] * lov, loss, rtol=1e-4)
        if "loss_lov" in case.out:
            close(lov, case.out["loss_lov"][step], rtol=1e-4)
        assert_rates(taught, case, step)
    assert_state(case, before, state({"": player}))


def begin(method: ProCA, case, precision: torch.dtype) -> None:
    """The first prototypes, image by image in eval mode, as the pass makes them."""
    method.segmenter.eval()
    with torch.inference_mode():
        for image, label in zip(
            case.inputs["init_images"], case.inputs["init_labels"], strict=True
        ):
            prediction = method.segmenter(image.to(precision))
            for level, table in method.prototypes.items():
                map = level_map(prediction, level)
                table.take(*class_sums(map, label_of(map, label), len(table.mean)))


def assert_tables(method: ProCA, case, when: str) -> None:
    feat, out = (method.prototypes[level] for level in LEVELS)
    assert feat.count.equal(case.out[f"{when}_amount"].double())
    close(feat.mean.norm(dim=1), case.out[f"{when}_proto_feat_norm"], rtol=1e-3)
    first = case.out[f"{when}_proto_feat_first64"]
    close(feat.mean[:, : first.shape[1]], first, rtol=5e-3, atol=1e-3)
    close(out.mean, case.out[f"{when}_proto_out"], rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_prototypes(reference, tmp_path, precision):
    case = reference("proca")["traj_proca"]
    a, out = case.args, case.out
    player = segmenter(case, official_weights(case))
    before = state({"": player})
    method = ProCA(
        player.network,
        prototypes=None,
        temperature=a["tau"],
        threshold=a["delta"],
        mask_on="logit",
        multi_level=True,
        use_momentum=False,
        rho=0.9,
        window=None,
        update_from="both",
    )
    # Not to(float32): that would round the counts.
    method = method.double() if precision == torch.float64 else method
    begin(method, case, precision)
    assert_tables(method, case, "init")
    weights = {"lov": a["lambda_lov"], "feat": a["lambda_feat"], "out": a["lambda_out"]}
    taught = teach(case, method, tmp_path, weights)
    for step in range(len(out["loss"])):
        source, target = batch(case, step, precision)
        counts = method.prototypes["feat"].count.sum()
        values = take_step(taught, step, source, target)
        supervised = values["loss/seg"] + a["lambda_lov"] * values["loss/lov"]
        close(supervised, out["loss_sup"][step], rtol=1e-4)
        close(values["loss/lov"], out["loss_lov"][step], rtol=1e-4)
        close(values["loss/feat"], out["loss_feat"][step], rtol=1e-4)
        close(values["loss/out"], out["loss_out"][step], rtol=1e-4)
        total = supervised + sum(weights[level] * values[f"loss/{level}"] for level in LEVELS)
        close(total, out["loss"][step], rtol=1e-4)
        assert_rates(taught, case, step)
        valid = out["n_valid_src"][step] + out["n_valid_tgt"][step]
        assert method.prototypes["feat"].count.sum() - counts == valid
    assert_tables(method, case, "final")
    assert_state(case, before, state({"": player}))


@pytest.mark.parametrize(("form", "precision"), runs(["official", "fixed"], ["fixed"]))
def test_memory_bank(reference, tmp_path, form, precision):
    case, data = reference("proca")[f"traj_mb_{form}"], reference("proca")["traj_mb_official"]
    a, out = case.args, case.out
    own, rest = parts(official_weights(case))
    player = segmenter(case, own)
    slots = case.inputs["pixel_queue0"]
    method = MemoryBank(
        player.network,
        temperature=a["temperature"],
        threshold=a["delta"],
        mask_on="logit",
        memory_size=slots.shape[1],
        pixels=a["pixel_update_freq"],
        projection_dim=slots.shape[2],
        min_samples=a["min_samples"],
        max_samples=a["max_samples"],
        compat=form,
    ).to(precision)
    names = {key: f"{PROJECTION[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}" for key in rest}
    method.projector.load_state_dict({names[key]: value for key, value in rest.items()})
    players = {"": player, "projection.": Player(method.projector, names)}
    before = state(players)
    method.permute = torch.arange
    method.bank.mean.copy_(case.inputs["proto_queue0"])
    method.bank.pixel.copy_(slots)
    weights = {"lov": a["lambda_lov"], "source": 1.0, "target": 1.0}
    taught = teach(case, method, tmp_path, weights)
    for step in range(len(out["loss"])):
        values = take_step(taught, step, *batch(data, step, precision))
        supervised = values["loss/seg"] + a["lambda_lov"] * values["loss/lov"]
        close(supervised, out["loss_sup"][step], rtol=1e-4)
        close(values["loss/lov"], out["loss_lov"][step], rtol=1e-4)
        close(values["loss/source"], out["loss_contrast_src"][step], rtol=1e-4)
        close(values["loss/target"], out["loss_contrast_tgt"][step], rtol=1e-4)
        assert_rates(taught, case, step)
    close(method.bank.pixel, out["final_pixel_queue"], rtol=5e-3, atol=1e-3)
    close(method.bank.mean, out["final_proto_queue"], rtol=5e-3, atol=1e-3)
    assert method.bank.pixel_place.equal(out["final_pixel_ptr"])
    assert method.bank.mean_place.equal(out["final_proto_ptr"])
    assert_state(case, before, state(players))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_fada(reference, tmp_path, precision):
    case, data = reference("proca")["traj_fada"], reference("proca")["traj_proca"]
    a, out = case.args, case.out
    official = drawn(case.inputs["keys"], case.inputs["shapes"], a["salt"])
    own, rest = parts(official)
    player = segmenter(case, own, "proca_frozenbn" if a["freeze_bn"] else "proca")
    method = Fada(
        player.network,
        temperature=a["temperature"],
        clip=a["clip"],
        discriminator_width=len(rest["D.0.weight"]),
    )
    names = load(method.discriminator, rest, "disc_proca_pixel")
    players = {"": player, "discriminator.": Player(method.discriminator, names)}
    before = state(players)
    weights = {"adv": a["lambda_adv"], "disc_source": 0.5, "disc_target": 0.5}
    taught = teach(
        case,
        method.to(precision),
        tmp_path,
        weights,
        f"optimizer.discriminator_lr={a['base_lr_d']}",
        f"optimizer.discriminator_betas=[{a['beta1']},{a['beta2']}]",
    )
    for step in range(len(out["loss_seg"])):
        values = take_step(taught, step, *batch(data, step, precision))
        close(values["loss/seg"], out["loss_seg"][step], rtol=1e-4)
        close(a["lambda_adv"] * values["loss/adv"], out["loss_adv_tgt"][step], rtol=1e-4)
        close(0.5 * values["loss/disc_source"], out["loss_D_src"][step], rtol=1e-4)
        close(0.5 * values["loss/disc_target"], out["loss_D_tgt"][step], rtol=1e-4)
    assert_state(case, before, state(players))
