"""CaCo + ProDA: the warm-up with pseudo labels, against the official numbers."""

from __future__ import annotations

import pytest
from torch import Tensor
from torch.testing import assert_close

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.official_networks import drawn, load, small
from tests.parity.test_caco_trajectories import assert_state
from tests.parity.trajectories import PRECISIONS, Player, state, take_step, trainer_of
from uda_hydra.methods.caco_proda import STRIDE, LabelledWarmup
from uda_hydra.types import IGNORE, Source, Target

OFFICIAL_IGNORE = 250


def ours(label: Tensor) -> Tensor:
    return label.where(label != OFFICIAL_IGNORE, IGNORE)


@pytest.mark.parametrize("name", ["proda_target_ce", "proda_target_ce_ignored"])
def test_cross_entropy_of_the_target(reference, name):
    case = reference("caco")[name]
    logits = case.inputs["logits"].requires_grad_()
    quarter = case.inputs["pseudo_label"][:, ::STRIDE, ::STRIDE]
    if "label_quarter" in case.out:
        assert quarter.equal(case.out["label_quarter"])
    loss = L.segmentation(logits, quarter.where(quarter != case.args["ignore_index"], IGNORE))
    loss.backward()
    close(loss.detach(), case.out["loss"], rtol=1e-4)
    assert_close(logits.grad, case.out["grad_logits"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_warm_up(reference, tmp_path, precision):
    case = reference("caco")["traj_proda_warmup"]
    args, inputs = case.args, case.inputs
    network = small("proda", args["num_classes"], batch_norm="frozen")
    weights = drawn(inputs["keys"], inputs["shapes"], args["salt"])
    players = {"student": Player(network, load(network, weights, "proda"))}
    width = int(inputs["discriminator_shapes"][0].split(",")[0])
    method = LabelledWarmup(network, labels=None, gan="ls", discriminator_width=width)
    discriminator = method.discriminators["main"]
    weights = drawn(inputs["discriminator_keys"], inputs["discriminator_shapes"], args["salt"])
    players["discriminator"] = Player(discriminator, load(discriminator, weights, "disc_proda_fc"))
    lambdas = dict.fromkeys(method.terms, 1.0) | {"adv": args["adv_weight"]}
    trainer = trainer_of(
        method.to(precision),
        tmp_path,
        f"optimizer.lr={args['lr']}",
        f"optimizer.horizon={args['max_iters']}",
        "optimizer.weight_decay=2.0e-4",
        "optimizer.backbone_repeats=false",
        "optimizer.accumulate_decay=false",
        weights=lambdas,
    )
    before = {who: state({"": player}) for who, player in players.items()}
    for step in range(len(inputs["source_image_u8"])):
        images = [inputs[f"{d}_image_u8"][step].to(precision) / 255 for d in ("source", "target")]
        label = ours(inputs["pseudo_label"][step])[:, ::STRIDE, ::STRIDE]
        values = take_step(
            trainer,
            step,
            Source(images[0], ours(inputs["source_label"][step]).long()),
            Target(images[1], stored={"labels": label}),
        )
        for key, found in {
            "loss_source": values["loss/seg"],
            "loss_adv": args["adv_weight"] * values["loss/adv"],
            "loss_target": values["loss/ce"],
            "loss_d": values["loss/disc_source"] + values["loss/disc_target"],
        }.items():
            close(found, case.out[key][step], rtol=3e-4)
    for who, player in players.items():
        assert_state(case.out, who, before[who], state({"": player}), named=str)
