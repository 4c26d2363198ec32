"""Losses, prototypes and pseudo labels of ProDA against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.parity.closeness import close
from tests.parity.official_networks import drawn, load
from tests.parity.test_augment import OFFICIAL_IGNORE, strong_view
from uda_hydra.augment.warp import warp_batch
from uda_hydra.engine.optimizers import RepeatedSGD
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.memory import EmaTeacher, MovingPrototypes, class_means, running_mean
from uda_hydra.models.discriminators import Fc3x3
from uda_hydra.types import IGNORE, View

PRECISIONS = (torch.float32, torch.float64)
in_both = pytest.mark.parametrize("precision", PRECISIONS)


def ours(label: Tensor) -> Tensor:
    """An official label with our value for what is ignored."""
    return label.where(label != OFFICIAL_IGNORE, IGNORE).long()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


@in_both
@pytest.mark.parametrize("name", ["src_ce", "src_ce_all_ignored"])
def test_source_loss(reference, name, precision):
    case = reference("proda")[name]
    logits = case.inputs["logits"].to(precision).requires_grad_()
    loss = L.segmentation(logits, ours(case.inputs["label"]))
    close(loss, case.out["loss"])
    close(gradient(loss, logits), case.out["grad_logits"])


@in_both
@pytest.mark.parametrize("name", ["sce", "sce_class_absent", "sce_all_ignored", "sce_saturated"])
def test_symmetric_cross_entropy(reference, name, precision):
    case = reference("proda")[name]
    label = ours(case.inputs["label"])
    logits = case.inputs["logits"].to(precision).requires_grad_()
    rce, ce = L.reverse_cross_entropy(logits, label), L.segmentation(logits, label)
    both = case.args["alpha"] * ce + case.args["beta"] * rce
    for loss, value in ((rce, "rce"), (ce, "ce"), (both, "sce")):
        close(loss, case.out[value])
    close(gradient(rce, logits), case.out["grad_rce_logits"])
    close(gradient(both, logits), case.out["grad_logits"])


@in_both
@pytest.mark.parametrize("name", ["mrkld", "mrent", "mrkld_onehot", "mrent_onehot"])
def test_regularizers(reference, name, precision):
    case = reference("proda")[f"reg_{name}"]
    logits = case.inputs["logits"].to(precision).requires_grad_()
    loss = L.REGULARIZERS[name.removesuffix("_onehot")](logits)
    close(loss, case.out["loss"])
    close(gradient(loss, logits), case.out["grad_logits"])


@in_both
@pytest.mark.parametrize("name", ["kd", "kd_prob", "kd_onehot", "kd_prob_onehot"])
def test_distillation(reference, name, precision):
    case = reference("proda")[name]
    student = case.inputs["student_logits"].to(precision).requires_grad_()
    teacher = case.inputs["teacher_logits"].to(precision)
    loss = L.distillation(student, teacher, student=case.args["student"])
    close(loss, case.out["loss"])
    close(gradient(loss, student), case.out["grad_student_logits"])


@in_both
@pytest.mark.parametrize("kind", ["ls", "vanilla"])
def test_adversarial_losses_of_the_warm_up(reference, kind, precision):
    case = reference("proda")[f"adv_{kind}"]
    labels = [case.args[f"{domain}_label"] for domain in ("source", "target")]
    assert labels == [L.SOURCE, L.TARGET]
    source, target = (
        case.inputs[f"d_{domain}"].to(precision).requires_grad_() for domain in ("source", "target")
    )
    fooled = case.args["adv"] * L.gan(target, L.SOURCE, kind=kind)
    close(fooled, case.out["loss_G"])
    close(gradient(fooled, target), case.out["grad_G_d_target"])
    told_apart = L.gan(source, L.SOURCE, kind=kind) + L.gan(target, L.TARGET, kind=kind)
    close(told_apart, case.out["loss_D"])
    close(gradient(told_apart, source), case.out["grad_D_d_source"])
    close(gradient(told_apart, target), case.out["grad_D_d_target"])


def test_discriminator(reference):
    case = reference("proda")["disc"]
    with torch.device("meta"):
        network = Fc3x3(case.inputs["logits"].shape[1])
    weights = drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])
    load(network, weights, "disc_proda_fc")
    probability = case.inputs["logits"].softmax(dim=1).requires_grad_()
    scores = network(probability)
    close(scores, case.out["d"], rtol=1e-3, atol=1e-4)
    expected = case.out["grad_prob_of_sum"]
    close(gradient(scores.sum(), probability), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["lr_stage1", "lr_finetune", "lr_warmup"])
def test_rates(reference, name):
    case = reference("proda")[name]
    for done, rates in zip(case.inputs["completed_iterations"], case.out["lr"], strict=True):
        factor = rate_factor(
            int(done),
            horizon=case.args["max_iter"],
            power=case.args["power"],
            warmup_steps=0,
            warmup_start=0.0,
            warmup_decays=True,
        )
        groups = torch.tensor([1.0, 10.0], dtype=torch.float64)[: len(rates)]
        close(case.args["lr"] * factor * groups, rates, rtol=1e-6, atol=0)


def test_running_mean_of_the_student(reference):
    case = reference("proda")["ema_update"]
    student = nn.Linear(*reversed(case.inputs["teacher"].shape), bias=False)
    student.load_state_dict({"weight": case.inputs["teacher"]})
    teacher = EmaTeacher(student)
    for weight, expected in zip(
        case.inputs["students"], case.out["teacher_after_each"], strict=True
    ):
        student.load_state_dict({"weight": weight})
        teacher.follow(student, momentum=case.args["decay"])
        close(teacher.network.weight, expected)


@pytest.mark.parametrize("name", ["sgd_repeat1", "sgd_repeat3", "sgd_repeat4"])
def test_repeated_updates(reference, name):
    case = reference("proda")[name]
    parameter = nn.Parameter(case.inputs["param"].clone())
    group = {"params": [parameter], "repeats": [case.args["repeats"]]}
    optimizer = RepeatedSGD(
        [group],
        accumulate_decay=False,
        nesterov=False,
        **{key: case.args[key] for key in ("lr", "momentum", "weight_decay")},
    )
    for given, expected in zip(case.inputs["grads"], case.out["param_after_each"], strict=True):
        parameter.grad = given
        optimizer.step()
        close(parameter, expected, rtol=1e-5)


@in_both
@pytest.mark.parametrize("name", ["class_mean", "class_mean_label"])
def test_class_means(reference, name, precision):
    case = reference("proda")[name]
    logits = case.inputs["logits"]
    label = logits.argmax(dim=1)
    if "label" in case.inputs:
        # The release's variant for the source: only where the prediction is right.
        label = label.where(label == case.inputs["label"], IGNORE)
    vectors, shown = class_means(
        case.inputs["feat"].to(precision),
        label,
        num_classes=logits.shape[1],
        min_pixels=case.args["min_pixels"],
    )
    assert shown.nonzero()[:, 1].equal(case.out["ids"])
    close(vectors[shown], case.out["vectors"])


def test_first_prototypes(reference):
    case = reference("proda")["proto_init"]
    expected = case.out["prototypes"]
    vectors, count = torch.zeros_like(expected[0]), torch.zeros(expected.shape[1])
    for feature, logits, prototypes, counts in zip(
        case.inputs["feat"], case.inputs["logits"], expected, case.out["counts"], strict=True
    ):
        means = class_means(
            feature, logits.argmax(dim=1), num_classes=len(expected[0]), min_pixels=10
        )
        vectors, count = running_mean(zip(*means, strict=True), vectors, count, cap=3000)
        close(vectors, prototypes)
        close(count, counts)


def test_the_count_of_the_first_prototypes_is_capped(reference):
    case = reference("proda")["proto_init_cap"]
    vectors, count = case.inputs["prototypes"], case.inputs["counts"]
    one = torch.arange(len(count)) == case.args["cls"]
    pairs = zip(case.inputs["vectors"], case.out["prototype_after_each"], strict=True)
    for vector, expected in pairs:
        image = [(vector.expand_as(vectors), one)]
        vectors, count = running_mean(image, vectors, count, cap=case.args["cap"])
        close(vectors[case.args["cls"]], expected)
    close(count, case.out["counts"])


@pytest.mark.parametrize("name", ["proto_move", "proto_move_fast"])
def test_moving_prototypes(reference, name):
    case = reference("proda")[name]
    prototypes = MovingPrototypes(len(case.inputs["prototypes"]))
    prototypes.begin(case.inputs["prototypes"])
    means = class_means(
        case.inputs["feat"],
        case.inputs["logits"].argmax(dim=1),
        num_classes=len(prototypes.vectors),
        min_pixels=10,
    )
    prototypes.move(means, momentum=case.args["momentum"])
    close(prototypes.vectors, case.out["prototypes"], rtol=1e-5)
    without = case.args["zero_vector_class"], case.args["zero_vector_image"]
    assert not case.args["has_zero_case"] or not means.shown[without[1], without[0]]


@pytest.mark.parametrize(
    "name", ["rectify", "rectify_thr", "rectify_hard_soft", "rectify_underflow"]
)
def test_rectification(reference, name):
    case = reference("proda")[name]
    rtol = 1e-3 if name == "rectify_underflow" else 1e-4
    distance = L.prototype_distance(case.inputs["feat"], case.inputs["prototypes"])
    close(distance, case.out["distance"], rtol=rtol)
    temperature = case.args["temperature"]
    ones = torch.ones_like(distance)
    weight = L.rectified(ones, distance, temperature=temperature)
    close(weight, case.out["weight"], rtol=rtol)
    found = L.rectified(case.inputs["soft_label"], distance, temperature=temperature)
    close(found, case.out["rectified"], rtol=rtol)
    close(found.amax(dim=1), case.out["conf"], rtol=rtol)
    label = L.rectified_label(found, min_confidence=case.args["train_thred"])
    assert label.equal(ours(case.out["label"]))


@in_both
@pytest.mark.parametrize("name", ["", "_temp", "_on_prototype", "_all_masked"])
def test_structure(reference, name, precision):
    case = reference("proda")[f"proto_consist{name}"]
    scale, inputs = case.args["scale"], case.inputs
    prototypes = inputs["prototypes"].to(precision)
    teacher = L.prototype_distance(inputs["feat_ema_weak"].to(precision), prototypes)
    size = (scale * teacher.shape[-1], scale * teacher.shape[-2])
    views = tuple(strong_view(inputs, i, size) for i in range(len(teacher)))
    teacher = warp_batch(teacher, views, kind="feature", stride=scale, fill=-1)
    seen = teacher[:, 0] >= 0
    feature = inputs["feat_student_strong"].to(precision).requires_grad_()
    student = L.prototype_distance(feature, prototypes)
    loss = L.structure(student, teacher, seen, temperature=case.args["temperature"])
    assert (seen != case.out["mask"].bool()).double().mean() <= 0.002
    close(loss, case.out["loss"])
    close(gradient(loss, feature), case.out["grad_feat_student_strong"])
    if "teacher" in case.out:
        weight = L.rectified(
            torch.ones_like(teacher), teacher, temperature=case.args["temperature"]
        )
        close(weight, case.out["teacher"])


def test_soft_labels(reference):
    case = reference("proda")["pseudo_soft"]
    close(L.probabilities(case.inputs["logits"]), case.out["prob"])


@pytest.mark.parametrize("name", ["pseudo_hard_flip", "pseudo_hard_noflip"])
def test_hard_labels(reference, name):
    group = reference("proda")
    case, args = group[name], group["pseudo_hard_flip"].args
    mirrored = case.inputs.get("logits_of_flipped_image")
    size = (args["height"], args["width"])
    probability = L.two_look_probability(case.inputs["logits"], mirrored, size)
    confidence, label = probability.max(dim=1)
    one_unit = 2**-11
    close(confidence.half(), case.out["conf"], rtol=0, atol=one_unit)
    assert (label != case.out["label"]).double().mean() <= 1e-3
    assert L.half_precision_label(probability, None).equal(label)


def test_confident_hard_labels(reference):
    case = reference("proda")["pseudo_filter"]
    confidence, label = case.inputs["conf"].float(), case.inputs["label"].long()
    # A probability map whose maxima these are.
    classes = torch.arange(int(label.max()) + 1)[:, None, None]
    probability = (label == classes) * confidence - 1.0 * (label != classes)
    found = L.half_precision_label(probability[None], case.args["threshold"])[0]
    found = found.where(label != OFFICIAL_IGNORE, IGNORE)
    assert found.equal(ours(case.out["label"]))
    view = View((label.shape[1], label.shape[0]))
    quarter = warp_batch(found[None], (view,), kind="label", stride=4)[0]
    assert quarter.equal(ours(case.out["label_quarter"]))
