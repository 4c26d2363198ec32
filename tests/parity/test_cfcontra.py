"""Pseudo labels, centres and contrastive losses of CFContra, against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from tests.parity.cfcontra_methods import cfcontra, noted
from tests.parity.closeness import close
from uda_hydra.memory import ClassMemory, class_centres, fill_missing, image_means, whole_centres
from uda_hydra.methods.cfcontra import margin_at
from uda_hydra.types import IGNORE, Prediction, Source, Step, Target, shrink_label

PRECISIONS = (torch.float32, torch.float64)


def nearest(features: Tensor, centres: Tensor, threshold: float | None) -> Tensor:
    return L.nearest_centre(L.similarity(features, centres), centres, threshold)


@pytest.mark.parametrize("name", ["pseudo_euclid", "pseudo_normeuclid"])
def test_nearest_centre(reference, name):
    case = reference("cfcontra")[name]
    features, centres = case.inputs["features"], case.inputs["centers"]
    if case.args["norm_euclid"]:
        features = L.per_channel(features)

    for threshold, expected in zip(case.inputs["thresholds"], case.out["labels"], strict=True):
        assert nearest(features, centres, threshold.item()).equal(expected)
    everything = nearest(features, centres, None)
    assert everything.equal(case.out["distance"].argmin(dim=1))

    cosine, length = L.similarity(features, centres)
    squared = length**2 - 2 * length * cosine
    distance = (squared + centres.square().sum(dim=1)[:, None, None]).sqrt()
    close(distance, case.out["distance"])
    # A label is kept under its margin and rejected over it. Margins are good to 1e-4, and labels
    # exact where the threshold is 2e-5 from them.
    margin = case.out["margin"].double()
    for value in margin.flatten().sort().values[::7].tolist():
        at, apart = (margin == value) & (value > 1e-3), 2e-5 + 1e-4 * value
        assert (nearest(features, centres, value - apart)[at] != IGNORE).all()
        assert (nearest(features, centres, value + apart)[at] == IGNORE).all()


def test_a_tie_is_rejected(reference):
    case = reference("cfcontra")["pseudo_tie_fixed"]
    label = nearest(case.inputs["features"], case.inputs["centers"], case.args["threshold"])
    assert label.equal(case.out["labels"])


def test_label_of_the_network(reference):
    case = reference("cfcontra")["pseudo_argmax"]
    logits = case.inputs["logits"]
    size = case.args["image_h"], case.args["image_w"]
    label = L.network_label(logits, size, logits.shape[-2:])
    assert label.equal(case.out["labels"][:, 0])


def test_label_resize(reference):
    case = reference("cfcontra")["label_resize"]
    label = shrink_label(case.inputs["labels"], (case.args["h"], case.args["w"]))
    assert label.equal(case.out["labels"])
    classes = torch.arange(case.out["onehot"].shape[1])[:, None, None]
    assert (label[:, None] == classes).long().equal(case.out["onehot"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["batch2", "absent", "absent_in_one_image", "all_ignored"])
def test_centres_of_a_batch(reference, name, precision):
    case = reference("cfcontra")[f"center_{name}"]
    features = case.inputs["features"].to(precision)
    centres = class_centres(features, case.inputs["labels"], case.args["num_classes"])
    close(centres, case.out["centers"], rtol=1e-5)
    absent = (case.out["centers"] == 0).all(dim=1)
    assert (centres[absent] == 0).all()


def source_centres(features: Tensor, logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    return whole_centres(
        image_means(f[None], L.agreeing_label(z[None], y[None]), classes)[0]
        for f, z, y in zip(features, logits, labels, strict=True)
    )


def target_centres(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    return whole_centres(
        image_means(f[None], y[None], classes)[0] for f, y in zip(features, labels, strict=True)
    )


def test_centres_of_the_source(reference):
    case = reference("cfcontra")["dataset_center_source"]
    features, logits, labels = (case.inputs[n] for n in ("features", "logits", "labels"))
    centres = source_centres(features, logits, labels, case.args["num_classes"])
    close(centres, case.out["centers"], rtol=1e-5)


def test_centres_of_the_target(reference):
    case = reference("cfcontra")["dataset_center_target"]
    features = case.inputs["features"]
    label = nearest(features, case.inputs["source_centers"], case.args["threshold"])
    centres = target_centres(features, label, case.args["num_classes"])
    close(centres, case.out["centers"], rtol=1e-5)


def test_centres_without_some_classes(reference):
    case = reference("cfcontra")["dataset_center_missing_fixed"]
    inputs, classes = case.inputs, case.args["num_classes"]
    source = source_centres(
        *(inputs[f"{what}_source"] for what in ("features", "logits", "labels")), classes
    )
    close(source, case.out["source_centers"], rtol=1e-5)
    features = inputs["features_target"]
    label = nearest(features, source, case.args["threshold"])
    assert label.equal(case.out["pseudo_labels"])
    target = fill_missing(target_centres(features, label, classes), source)
    close(target, case.out["target_centers"], rtol=1e-5)
    assert ((source == 0) == (case.out["source_centers"] == 0)).all()
    assert ((target == 0) == (case.out["target_centers"] == 0)).all()


def pixels(features: Tensor) -> Tensor:
    """A list of vectors as an image of one column."""
    return features.T[None, :, :, None]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["basic", "soft", "absent", "all_ignored", "wrong", "zero_row"])
def test_memory(reference, name, precision):
    case = reference("cfcontra")[f"memory_{name}"]
    inputs, centres, memory = (
        case.inputs[n].to(precision) for n in ("inputs", "centers", "memory")
    )
    features = pixels(inputs).requires_grad_()
    kept = ClassMemory(*memory.shape).to(precision)
    kept.centres.copy_(memory)

    cosine = L.similarity(features, kept.centres).cosine
    label = case.inputs["labels"][None, :, None]
    loss = L.centre_contrast(cosine, label, case.args["temp"])
    loss.backward()
    kept.update(centres, case.args["momentum"])

    close(loss, case.out["loss"])
    close(features.grad[0, :, :, 0].T, case.out["grad_inputs"], rtol=1e-3)
    close(kept.centres, case.out["memory"], rtol=1e-5)


class Given(nn.Module):
    """Takes an image for the features it returns."""

    projector = None

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.num_classes, self.feature_channels = num_classes, channels

    def forward(self, features: Tensor) -> Prediction:
        return Prediction(features[:, : self.num_classes], None, features)


@pytest.mark.parametrize("name", ["step", "step_legacy", "step_batch2", "step_legacy_batch2"])
def test_one_step(reference, monkeypatch, name):
    case = reference("cfcontra")[f"contra_{name}"]
    inputs, args, out = case.inputs, case.args, case.out
    method = cfcontra(
        Given(*inputs["src_memory"].shape),
        grad_memory=args["grad_memory"],
        margin=args["threshold"],
        temperature=args["temp"],
        memory_momentum=args["momentum"],
    )
    method.source_memory.centres.copy_(inputs["src_memory"])
    method.target_memory.centres.copy_(inputs["tgt_memory"])
    features = [inputs[f"features_{domain}"].requires_grad_() for domain in ("source", "target")]
    centres, labels = noted(monkeypatch)

    terms, total = {}, torch.zeros(())
    batch = Source(features[0], inputs["labels_source"]), Target(features[1])
    for update in method.losses(*batch, Step(0, 0.0)):
        new = {name: term for name, term in update.terms.items() if name.startswith("contrast")}
        loss = sum(args[f"lambda_{name.removeprefix('contrast_')}"] * new[name] for name in new)
        loss.backward()
        terms |= new
        total += loss.detach()

    for kind in ("s", "t", "t2s", "s2t"):
        close(terms[f"contrast_{kind}"], out[f"loss_{kind}"])
    close(total, out["loss"])
    for domain, seen in zip(("source", "target"), features, strict=True):
        close(seen.grad, out[f"grad_features_{domain}"], rtol=1e-3)
        close(centres.pop(0), out[f"center_{domain}"], rtol=1e-5)
    for label, expected in zip(labels, ("labels_source_small", "pseudo_labels"), strict=True):
        assert label.where(label != IGNORE, -1).equal(out[expected][:, 0])
    close(method.source_memory.centres, out["src_memory"], rtol=1e-5)
    close(method.target_memory.centres, out["tgt_memory"], rtol=1e-5)


def test_threshold_schedule(reference):
    case = reference("cfcontra")["threshold_schedule"]
    args = case.args
    for name in ("official", "declared"):
        power = float(args[f"power_{name}"])
        ours = [
            margin_at(step, base=args["base"], power=power, horizon=args["max_iters"])
            for step in case.inputs["iters"].tolist()
        ]
        close(torch.tensor(ours, dtype=torch.float64), case.out[name], rtol=1e-12, atol=0)


def test_every_case_is_compared(reference):
    """Here or, as their subjects are, in test_adain, _cfcontra_trajectories, _datasets, _metrics

    and _networks.
    """
    known = {
        "pseudo": ["euclid", "normeuclid", "tie_fixed", "argmax"],
        "center": ["batch2", "absent", "absent_in_one_image", "all_ignored"],
        "dataset": ["center_source", "center_target", "center_missing_fixed"],
        "memory": ["basic", "soft", "absent", "all_ignored", "wrong", "zero_row"],
        "contra": ["step", "step_legacy", "step_batch2", "step_legacy_batch2"],
        "network": [f"head_{kind}" for kind in ("moco", "simclr", "linear", "none")],
        "adain": [
            "stats", "basic", "transfer_four_styles", "transfer_preserve_color", "decoder_loss",
        ],
        "traj": ["cf_default", "cf_strong", "cf_legacy", "cf_argmax", "cf_all_rejected"],
        "metrics": ["19", "16"],
    }  # fmt: skip
    names = {f"{group}_{name}" for group, members in known.items() for name in members}
    names |= {"label_resize", "threshold_schedule", "coral", "data_synthia"}
    assert {*reference("cfcontra").names()} == names
