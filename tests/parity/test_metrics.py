"""Scores against the official ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import protocol
from tests.label_spaces import numbered
from tests.parity import closeness
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA13, SYNTHIA16
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.engine.protocols import Look, label_map
from uda_hydra.engine.scores import Scores

CASES = ("m19", "m19_absent", "m19_all_ignored", "m19_neg1", "m16", "m13")
close = partial(closeness.close, rtol=0, atol=1e-12)


def scores(case, average: str = "defined") -> Scores:
    """Our scores of a case, counted on its label maps."""
    size = case.args["n_class" if "n_class" in case.args else "num_classes"]
    label = case.inputs["label"]
    # The official maps may mark unscored pixels by any value; ours are 8-bit with 255.
    label = torch.where((label >= 0) & (label < size), label, 255).to(torch.uint8)
    confusion = count_pixels(label, case.inputs["pred"].to(torch.uint8), size)
    return Scores(confusion.numpy(), numbered(size), average=average)


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


def test_a_19_class_model_scored_on_the_subsets(reference):
    case = reference("metrics")["m19"]
    ours = scores(case)
    for size, space in ((16, SYNTHIA16), (13, SYNTHIA13)):
        subset = ours.subset(CITYSCAPES19.names.index(name) for name in space.names)
        close(subset.miou, case.out[f"miou_{size}of19"])
        close(subset.mean_accuracy, case.out[f"mean_acc_{size}of19"])
        close(subset.fwiou * share(ours, subset), case.out[f"fwiou_{size}of19_official"])


def share(whole: Scores, subset: Scores) -> float:
    """Share of the pixels in a subset: the official FWIoU divides by those of all classes."""
    truth = whole.confusion.sum(axis=1)
    return float(truth[[*subset.kept]].sum() / truth.sum())


def test_sixteen_classes_and_their_thirteen(reference):
    case = reference("metrics")["m16"]
    ours = scores(case)
    thirteen = ours.subset(case.args["subset13"].tolist())
    for size, subset in ((16, ours), (13, thirteen)):
        close(subset.miou, case.out[f"miou_{size}"])
        close(subset.mean_accuracy, case.out[f"mean_acc_{size}"])
        close(subset.mean_precision, case.out[f"mean_precision_{size}"])
    close(ours.fwiou, case.out["fwiou_16_official"])
    close(thirteen.fwiou, case.out["fwiou_13_fixed"])
    close(thirteen.fwiou * share(ours, thirteen), case.out["fwiou_13_official"])

    close(Scores(ours.confusion, SYNTHIA16).metrics()["miou_13"], case.out["miou_13"])


def as_proca(ours: Scores) -> dict:
    """Our scores by ProCA's names."""
    return {
        "iou": ours.iou,
        "acc": ours.class_accuracy,
        "miou": ours.miou,
        "macc": ours.mean_accuracy,
        "allacc": ours.pixel_accuracy,
    }


def test_proca_counts_absent_classes_as_zero(reference):
    case = reference("metrics")["m19_absent"]
    ours = scores(case, average="all")
    for key, value in as_proca(ours).items():
        expected = case.out[f"proca_{key}"]
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12, err_msg=key)


def test_scores_of_proca(reference):
    case = reference("proca")["metric_iou"]
    ours = scores(case, average="all")
    hits, truth, found = np.diag(ours.confusion), *(ours.confusion.sum(axis=i) for i in (1, 0))
    counts = {"intersection": hits, "target": truth, "union": truth + found - hits}
    for key, value in counts.items():
        np.testing.assert_array_equal(value, case.out[key], err_msg=key)
    for key, value in as_proca(ours).items():
        np.testing.assert_allclose(value, case.out[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_scores_of_proda(reference):
    case = reference("proda")["metrics"]
    ours = scores(case)
    np.testing.assert_array_equal(ours.confusion, case.out["confusion"])
    values = {
        "iou": ours.iou,
        "miou": ours.miou,
        "miou13": ours.subset({*range(case.args["n_class"])} - {3, 4, 5}).miou,
        "overall_acc": ours.pixel_accuracy,
        "mean_acc": ours.mean_accuracy,
        "freqw_acc": ours.fwiou,
    }
    for key, value in values.items():
        np.testing.assert_allclose(value, case.out[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(("size", "spaces"), [(19, (SYNTHIA16, SYNTHIA13)), (16, (SYNTHIA13,))])
def test_scores_of_cfcontra(reference, size, spaces):
    case = reference("cfcontra")[f"metrics_{size}"]
    space = {19: CITYSCAPES19, 16: SYNTHIA16}[size]
    ours = Scores(case.inputs["confusion"].numpy(), space)
    subsets = [ours.subset(one.names) for one in spaces]
    values = {
        "mean_pixel_accuracy": [one.mean_accuracy for one in (ours, *subsets)],
        "miou": [one.miou for one in (ours, *subsets)],
        # The official FWIoU of a subset divides by the pixels of all classes.
        "fwiou": [ours.fwiou, *(one.fwiou * share(ours, one) for one in subsets)],
        "mean_precision": [one.mean_precision for one in (ours, *subsets)],
    }
    np.testing.assert_allclose(ours.pixel_accuracy, case.out["pixel_accuracy"], rtol=1e-9)
    for key, value in values.items():
        official = [case.out[key], case.out[f"{key}_16_13"]] if size == 19 else [case.out[key]]
        np.testing.assert_allclose(value, np.hstack(official), rtol=1e-9, err_msg=key)


def test_scores_of_mmsegmentation(reference):
    case = reference("metrics")["m19_absent"]
    ours = scores(case)
    values = {
        "aAcc": ours.pixel_accuracy,
        "IoU": ours.iou,
        "Acc": ours.class_accuracy,
        "Recall": ours.class_accuracy,
        "Precision": ours.precision,
        "Dice": ours.dice,
        "Fscore": ours.dice,
    }
    for key, value in values.items():
        expected = np.asarray(case.out[f"mmseg_{key}"])
        # Of a class never met or never found, the harmonic mean of 0 and nothing is nothing there.
        known = ~np.isnan(expected) if key == "Fscore" else np.ones_like(expected, bool)
        np.testing.assert_allclose(
            np.asarray(value)[known], expected[known], rtol=1e-6, err_msg=key
        )


def test_maxsquare_calls_the_accuracy_of_nothing_zero(reference):
    case = reference("metrics")["m19_all_ignored"]
    close(np.nan_to_num(scores(case).pixel_accuracy), case.out["maxsquare_pixel_acc"])


PREDICTIONS = {
    "align": protocol("advent"),
    # The release takes two steps where its input is smaller than the label.
    "noalign_softmax": protocol("daformer", "evaluation.via_input_size=false"),
    "flip_mean": protocol("maxsquare", "evaluation.mirror=true"),
    "softmax_then_up": protocol("caco_retrain"),
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_labels_from_logits(reference, kind):
    case = reference("metrics")["eval_logits"]
    size = tuple(case.args["size"].tolist())
    chosen = PREDICTIONS[kind]
    looks = [Look(case.inputs["z"], size)]
    if chosen.mirror:
        looks.append(Look(case.inputs["z_flip"].flip(-1), size))
    prediction = label_map(looks, size, chosen)
    assert int((prediction != case.out[f"pred_{kind}"]).sum()) <= 2
    expected = case.out[f"confusion_{kind}"]
    confusion = count_pixels(case.inputs["label"], prediction, len(expected))
    assert int((confusion - expected).abs().sum()) <= 4
