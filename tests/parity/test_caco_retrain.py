"""CaCo's retraining: its losses and labels, and four steps of it, against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.queue_layout import oldest_first
from tests.parity.test_caco_trajectories import assert_state, initial_weights, network
from tests.parity.trajectories import runs, take_step, trainer_of
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.memory import CategoryQueue, ClassBalance
from uda_hydra.methods.caco_retrain import CaCoRetrain
from uda_hydra.methods.dense_labels import mean_label
from uda_hydra.types import IGNORE, Source, Target

TRAJECTORIES = ("traj_stage2", "traj_stage2_misaligned")


def rare_share(labels: torch.Tensor) -> float:
    """The official 4096 pixels as a share of an image."""
    return 4096 / (labels.shape[-2] * labels.shape[-1])


def test_class_weights(reference):
    case = reference("caco")["class_weights_sequence"]
    args = case.args
    share = rare_share(case.inputs["labels"])
    balance = ClassBalance(args["num_classes"], max_weight=args["max_value"], rare_share=share)
    for step, label in enumerate(case.inputs["labels"]):
        close(balance.weights(label), case.out["class_weight"][step], rtol=1e-5)
        close(balance.often, case.out["often_weight"][step], rtol=1e-5)
        # Without the running mean a class has the first factor alone.
        rare = torch.bincount(label.flatten().long(), minlength=256)[: args["num_classes"]]
        few = torch.where(rare < 4096 * len(label), args["max_value"], 1.0)
        close(few, case.out["class_weight_no_often"][step], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["weighted_ce", "weighted_ce_all_ignored", "weighted_ce_class_absent"]
)
def test_weighted_cross_entropy(reference, name):
    case = reference("caco")[name]
    logits = case.inputs["logits"].requires_grad_()
    label = case.inputs["labels"]
    weight = torch.cat([case.inputs["class_weight"], torch.zeros(1)])
    weight = weight[label.where(label != 255, len(weight) - 1)]
    loss = L.segmentation(logits, label, weight, over="all")
    loss.backward()
    close(loss.detach(), case.out["loss"], rtol=1e-4)
    assert_close(logits.grad, case.out["grad_logits"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["tta_labels", "tta_test"])
def test_labels_of_four_looks(reference, name):
    case = reference("caco")[name]
    size = tuple(case.args["out_hw"].tolist())
    looks = []
    for scale in "12":
        plain, mirrored = (
            L.probabilities(
                case.args["aux_weight"] * case.inputs[f"aux_{scale}{end}"]
                + case.inputs[f"main_{scale}{end}"]
            )
            for end in ("", "_flip")
        )
        looks.append((plain + mirrored.flip(3)) / 2)
    assert mean_label(looks, size, 0.0).equal(case.out["label"].long())
    # The confidence, which is a mean here, shows in what a threshold keeps.
    score = case.out["score_sum"]
    for value in score.flatten().sort().values[::97].tolist():
        kept = mean_label(looks, size, value / 4) != IGNORE
        apart = (score - value).abs() > 1e-6 + 1e-4 * value
        assert kept[apart].equal(score[apart] > value)
    if "threshold_sum" in case.args:
        found = mean_label(looks, size, case.args["threshold_sum"] / 4)
        assert found.equal(case.out["label_thresholded"].long())


def test_dictionary_of_labelled_batches(reference):
    case = reference("caco")["queue_stage2_sequence"]
    dim = case.inputs["features"].shape[2]
    queue = CategoryQueue(case.args["num_classes"], case.args["dict_len"], dim)
    for step, (features, labels) in enumerate(
        zip(case.inputs["features"], case.inputs["labels"], strict=True)
    ):
        for feature, label in zip(features, labels, strict=True):
            queue.push(feature, label)
        keys, known, probability = oldest_first(queue)
        close(keys, case.out[f"keys_step{step}"], rtol=1e-4)
        assert known.equal(case.out[f"labels_step{step}"])
        close(probability, case.out[f"probs_step{step}"], rtol=1e-4)


def test_learning_rate(reference):
    case = reference("caco")["lr_stage2"]
    args = case.args
    for step, rates in zip(case.inputs["iteration"].tolist(), case.out["lr"], strict=True):
        factor = rate_factor(
            step,
            horizon=args["max_iters"],
            power=args["power"],
            warmup_steps=int(args["warm_up"]),
            warmup_start=0.1,
            warmup_decays=False,
        )
        rate = args["base_lr"] * factor
        close([rate, 10 * rate], rates, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "precision"), runs(TRAJECTORIES, TRAJECTORIES[:1]))
def test_retraining(reference, tmp_path, name, precision):
    case, out = reference("caco")["traj_stage2"], reference("caco")[name].out
    args, inputs = case.args, case.inputs
    before = initial_weights(case)
    method = CaCoRetrain(
        network(case, before),
        labels=None,
        ema_momentum=args["ema_momentum"],
        queue_length=args["dict_len"],
        key_labels="plain" if name == "traj_stage2" else "recoloured",
        temperature=0.07,
        base_temperature=0.07,
        max_weight=args["max_value"],
        rare_share=rare_share(inputs["label_aug"]),
        target_pass=True,
    ).to(precision)
    weights = {"seg": 1.0, "seg_aux": args["lambda_seg"], "contrast": args["lambda_seg"]}
    trainer = trainer_of(
        method,
        tmp_path,
        f"optimizer.lr={args['lr']}",
        f"optimizer.horizon={args['max_iters']}",
        f"optimizer.warmup_steps={int(args['warm_up'])}",
        "optimizer.warmup_start=0.1",
        "optimizer.warmup_decays=false",
        "optimizer.nesterov=true",
        weights=weights,
    )
    for step in range(len(inputs["images"])):
        plain, seen, other = (
            inputs[key][step].to(precision) for key in ("images", "image_aug", "images_t")
        )
        target = Target(
            seen,
            whole=other,
            stored={"labels": inputs["label_aug"][step]},
            plain=Target(plain, stored={"labels": inputs["labels"][step]}),
        )
        values = take_step(trainer, step, Source(seen, inputs["label_aug"][step].long()), target)
        close(values["loss/seg"], out["loss_seg_main"][step], rtol=3e-4)
        close(values["loss/seg_aux"], out["loss_seg_aux"][step], rtol=3e-4)
        close(values["loss/contrast"], out["contrast"][step], rtol=3e-4)
        assert method.queue.filled.sum(dim=1).equal(out["queue_filled"][step])
    assert_state(out, "student", before, method.segmenter.state_dict())
    assert_state(out, "ema", before, method.teacher.network.state_dict())
