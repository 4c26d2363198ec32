"""Scores against the official ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uda_hydra.data.labels import CLASSES, train_ids
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.engine.labels import predict_labels
from uda_hydra.engine.scores import Scores

CASES = ("m19", "m19_absent", "m19_all_ignored", "m19_neg1", "m16", "m13")


def scores(case) -> Scores:
    """Our scores of a case, counted on its label maps."""
    classes = tuple(f"class {position}" for position in range(case.args["num_classes"]))
    label = case.inputs["label"]
    # The official maps may mark unscored pixels by any value; ours are 8-bit with 255.
    label = torch.where((label >= 0) & (label < len(classes)), label, 255).to(torch.uint8)
    confusion = count_pixels(label, case.inputs["pred"], len(classes))
    return Scores(confusion.numpy(), classes)


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_the_official_ones(reference, name):
    case = reference("metrics")[name]
    ours = scores(case)
    np.testing.assert_array_equal(ours.confusion, case.out["confusion"])
    values = {
        "iou": ours.iou,
        "miou": ours.miou,
        "acc": ours.class_accuracy,
        "mean_acc": ours.mean_accuracy,
        "precision": ours.precision,
        "mean_precision": ours.mean_precision,
        "pixel_acc": ours.pixel_accuracy,
        "fwiou": ours.fwiou,
    }
    for key, value in values.items():
        np.testing.assert_allclose(value, case.out[key], rtol=0, atol=1e-12, err_msg=key)


def close(ours: float, official: float) -> None:
    assert ours == pytest.approx(official, rel=0, abs=1e-12)


def test_a_19_class_model_scored_on_the_subsets(reference):
    case = reference("metrics")["m19"]
    ours = scores(case)
    for size in (16, 13):
        subset = ours.subset(train_ids(size))
        close(subset.miou, case.out[f"miou_{size}of19"])
        close(subset.mean_accuracy, case.out[f"mean_acc_{size}of19"])


def test_sixteen_classes_and_their_thirteen(reference):
    case = reference("metrics")["m16"]
    ours = scores(case)
    thirteen = ours.subset(case.args["subset13"].tolist())
    for size, subset in ((16, ours), (13, thirteen)):
        close(subset.miou, case.out[f"miou_{size}"])
        close(subset.mean_accuracy, case.out[f"mean_acc_{size}"])
        close(subset.mean_precision, case.out[f"mean_precision_{size}"])
    close(thirteen.fwiou, case.out["fwiou_13_fixed"])

    names = tuple(CLASSES[position] for position in train_ids(16))
    close(Scores(ours.confusion, names).metrics()["miou_13"], case.out["miou_13"])


def test_labels_from_logits(reference):
    case = reference("metrics")["eval_logits"]
    size = tuple(case.args["size"].tolist())
    prediction = predict_labels(case.inputs["z"], size)
    assert int((prediction != case.out["pred_align"]).sum()) <= 2
    confusion = count_pixels(case.inputs["label"], prediction, len(case.out["confusion_align"]))
    assert int((confusion - case.out["confusion_align"]).abs().sum()) <= 4
