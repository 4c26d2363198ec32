"""Losses and updates of CaCo's source-only model and first stage, against the official numbers."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.queue_layout import oldest_first
from uda_hydra.engine.optimizers import RepeatedSGD
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.memory import CategoryQueue, EmaTeacher
from uda_hydra.methods.caco import scaled_size
from uda_hydra.types import upsample

CONTRASTS = (
    "basic", "partial_dictionary", "prob_extremes", "some_ignored", "all_ignored", "one_key",
    "zero_feature", "batch", "batch_mixed", "aligned",
)  # fmt: skip
PRECISIONS = (torch.float32, torch.float64)
close_gradient = partial(close, rtol=1e-3, atol=1e-7)


def dictionary(keys: Tensor, labels: Tensor, values: Tensor, classes: int) -> list[Tensor]:
    """The flat list of keys and their reliabilities as slots class by class."""
    longest = int(torch.bincount(labels, minlength=classes).max())
    slots = keys.new_zeros(classes, longest, keys.shape[1]), keys.new_zeros(classes, longest)
    for c in range(classes):
        for slot, j in enumerate((labels == c).nonzero()[:, 0].tolist()):
            slots[0][c, slot], slots[1][c, slot] = keys[j], values[j]
    return list(slots)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CONTRASTS)
def test_contrast(reference, name, precision):
    case = reference("caco")[f"contrast_{name}"]
    query = case.inputs["query"].to(precision).requires_grad_()
    trust = L.reliability(case.inputs["key_probs"].to(precision), case.args["ent_clamp"])
    keys, weights = dictionary(
        case.inputs["keys"].to(precision),
        case.inputs["key_labels"],
        trust,
        case.args["num_classes"],
    )

    loss = L.category_contrast(
        query,
        case.inputs["query_labels"],
        keys,
        weights,
        temperature=case.args["temperature"],
        base_temperature=case.args["base_temperature"],
    )
    loss.backward()

    close(loss, case.out["loss"])
    if "grad_query" in case.out:
        close_gradient(query.grad, case.out["grad_query"])


@pytest.mark.parametrize("name", ["reliability", "reliability_other_clamp"])
def test_reliability(reference, name):
    case = reference("caco")[name]
    probability = case.inputs["key_probs"]

    share = L.self_information(probability[:, :, None, None])[:, :, 0, 0]
    close(share * math.log2(probability.shape[1]), case.out["entropy_map"])
    close(L.normalized_entropy(probability), case.out["entropy"])
    close(L.reliability(probability, case.args["ent_clamp"]), case.out["reliability"])


def feed(queue: CategoryQueue, inputs: dict[str, Tensor], threshold: float) -> None:
    confident = L.confident_label(inputs["target_probs"], threshold, inclusive=True)
    for i in range(len(confident)):
        queue.push(inputs["source_features"][i], inputs["source_labels"][i])
        queue.push(inputs["target_features"][i], confident[i], inputs["target_probs"][i])


def close_queue(queue: CategoryQueue, keys: Tensor, labels: Tensor, probs: Tensor) -> None:
    actual = oldest_first(queue)
    close(actual[0], keys)
    assert actual[1].equal(labels)
    close(actual[2], probs)


@pytest.mark.parametrize(
    "name", ["queue_threshold_boundary", "queue_nothing", "queue_batch_extension"]
)
def test_one_update_of_the_dictionary(reference, name):
    case = reference("caco")[name]
    dim = case.inputs["source_features"].shape[1]
    queue = CategoryQueue(case.args["num_classes"], case.args["dict_len"], dim)

    feed(queue, case.inputs, case.args["threshold"])

    close_queue(queue, case.out["keys"], case.out["labels"], case.out["probs"])


def test_successive_updates_of_the_dictionary(reference):
    case = reference("caco")["queue_sequence"]
    steps, _, dim, *_ = case.inputs["source_features"].shape
    queue = CategoryQueue(case.args["num_classes"], case.args["dict_len"], dim)

    for t in range(steps):
        inputs = {name: value[t] for name, value in case.inputs.items()}
        feed(queue, inputs, case.args["threshold"])
        close_queue(queue, *(case.out[f"{part}_step{t}"] for part in ("keys", "labels", "probs")))

    keys, labels, probs = oldest_first(queue)
    held = labels >= 0
    close(keys[held], case.out["flat_keys"])
    close(probs[held], case.out["flat_probs"])
    assert labels[held].equal(case.out["flat_labels"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["consistency", "consistency_batch"])
def test_consistency(reference, name, precision):
    case = reference("caco")[name]
    inputs = {name: value.to(precision) for name, value in case.inputs.items()}
    for head in ("main", "aux"):
        student = inputs[f"student_{head}"].requires_grad_()
        loss = L.consistency(student, inputs[f"teacher_{head}"])
        loss.backward()
        close(loss, case.out[f"loss_{head}"])
        close_gradient(student.grad, case.out[f"grad_student_{head}"])


@pytest.mark.parametrize("name", ["total_dictionary_full", "total_dictionary_not_full"])
def test_sum_of_consistency_and_gated_contrast(reference, name):
    case = reference("caco")[name]
    inputs, args = case.inputs, case.args
    query, main = (inputs[n].requires_grad_() for n in ("query", "student_main_prob"))
    queue = CategoryQueue(args["num_classes"], args["dict_len"], query.shape[1])
    for key, label, probability in zip(
        inputs["keys"], inputs["key_labels"], inputs["key_probs"], strict=True
    ):
        queue.push(key[:, None, None], label[None, None], probability[:, None, None])

    contrast = L.category_contrast(
        query,
        inputs["query_labels"],
        queue.keys,
        L.reliability(queue.probability, args["ent_clamp"]) * queue.filled,
        temperature=0.07,
        base_temperature=0.07,
    )
    loss = (
        L.disagreement(main, inputs["teacher_main_prob"])
        + L.disagreement(inputs["student_aux_prob"], inputs["teacher_aux_prob"])
        + args["contrast_weight"] * contrast.where(queue.full, 0.0)
    )
    loss.backward()

    close(loss, case.out["loss"])
    close_gradient(query.grad, case.out["grad_query"])
    close_gradient(main.grad, case.out["grad_student_main_prob"])


def test_scaled_sizes(reference):
    case = reference("caco")["scale_sizes"]
    for base in "ab":
        size = case.inputs[f"hw_{base}"].tolist()
        sizes = [scaled_size(size, percent) for percent in case.inputs["percent"].tolist()]
        assert torch.tensor(sizes).equal(case.out[f"sizes_{base}"])
    low, high = case.out["percent_low_inclusive"], case.out["percent_high_exclusive"]
    assert case.inputs["percent"].tolist() == list(range(low, high))


def test_rescaled_image(reference):
    case = reference("caco")["scale_resize"]
    image = case.inputs["image"]

    view = upsample(image, scaled_size(image.shape[-2:], case.args["percent"]))

    close(view, case.out["image"], atol=1e-3)


def test_teacher_follows(reference):
    case = reference("caco")["ema_update"]
    networks = {}
    for who in ("student", "teacher"):
        state = {
            name.removeprefix(f"{who}_"): torch.as_tensor(value)
            for name, value in case.inputs.items()
            if name.startswith(who)
        }
        width, depth, size, _ = state["0.weight"].shape
        networks[who] = nn.Sequential(nn.Conv2d(depth, width, size), nn.BatchNorm2d(width))
        networks[who].load_state_dict(state)
    teacher = EmaTeacher(networks["teacher"])

    teacher.follow(networks["student"], momentum=case.args["momentum"])

    for name, value in teacher.network.state_dict().items():
        close(value, case.out[f"teacher_{name}"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["source_ce", "source_ce_all_ignored"])
def test_segmentation(reference, name, precision):
    case = reference("caco")[name]
    logits = case.inputs["logits"].to(precision).requires_grad_()

    loss = L.segmentation(logits, case.inputs["labels"])
    loss.backward()

    close(loss, case.out["loss"])
    close_gradient(logits.grad, case.out["grad_logits"])


def test_learning_rate(reference):
    case = reference("caco")["lr_stage1"]
    args = case.args
    rates = [
        args["base_lr"] * rate_factor(step, horizon=args["max_iters"], power=args["power"])
        for step in case.inputs["iteration"].tolist()
    ]
    close(torch.tensor(rates, dtype=torch.float64), case.out["lr"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["sgd_repeats", "sgd_repeats_nesterov"])
def test_repeated_updates(reference, name):
    case = reference("caco")[name]
    args = case.args
    parameters = [nn.Parameter(row.clone()) for row in case.inputs["param"]]
    optimizer = RepeatedSGD(
        [{"params": parameters, "repeats": case.inputs["repeats"].tolist()}],
        accumulate_decay=True,
        lr=args["lr"],
        momentum=args["momentum"],
        weight_decay=args["weight_decay"],
        nesterov=bool(args["nesterov"]),
    )
    for gradients, expected in zip(case.inputs["grads"], case.out["params"], strict=True):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        close(torch.stack(parameters), expected, rtol=1e-9, atol=0)
