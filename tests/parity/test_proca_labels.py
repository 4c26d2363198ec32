"""Pseudo labels and the tests at one and several scales against ProCA's numbers."""

from __future__ import annotations

import pytest
import torch

import uda_hydra.losses as L
from tests.conftest import protocol
from tests.parity.closeness import close
from tests.parity.official_networks import official_weights
from tests.parity.trajectories import segmenter_of
from uda_hydra.engine.protocols import look, probability_map
from uda_hydra.types import upsample


@pytest.mark.parametrize("name", ["pl_threshold", "pl_threshold_half", "pl_threshold_single"])
def test_thresholds(reference, name):
    case = reference("proca")[name]
    a = case.args
    size, classes = (a["test_h"], a["test_w"]), a["num_classes"]
    images = [
        upsample(logits[None], size).softmax(dim=1)[0].max(dim=0)
        for logits in case.inputs["logits"]
    ]
    total = sum(L.confidence_histogram(p, c, classes) for p, c in images)
    place = L.bins_at(total, a["percent"])
    parts = [L.values_in_bins(p, c, place, a["cap"]) for p, c in images]
    found = L.class_thresholds(parts, place, a["cap"])
    close(found, case.out["thresholds"], rtol=0, atol=2e-6)
    if "counts" in case.out:
        assert place.count.equal(case.out["counts"])


def test_label_map(reference):
    case = reference("proca")["pl_map"]
    size = case.args["label_h"], case.args["label_w"]
    confidence, label = upsample(case.inputs["logits"], size).softmax(dim=1)[0].max(dim=0)
    found = L.sure_label(confidence, label, case.inputs["thresholds"])
    assert int((found != case.out["labels"]).sum()) <= 2
    kept = found.ne(case.args["ignore"]).double().mean()
    close(kept, case.out["kept_fraction"], rtol=0, atol=3 / found.numel())


@pytest.mark.parametrize("name", ["ss_noflip", "ss_flip", "ms_noflip", "ms_fusion"])
def test_probabilities_of_an_image(reference, name):
    case = reference("proca")[name]
    a = case.args
    network = segmenter_of(
        "proca", official_weights(case), num_classes=a["num_classes"], multi_level=False
    ).network.eval()
    scales = case.inputs.get("scales", torch.ones(1)).tolist()
    chosen = protocol(
        "proca", f"evaluation.scales={scales}", f"evaluation.mirror={bool(a['flip'])}"
    )
    # The case's image is normalised already.
    network.normalization = lambda _: case.inputs["image"]
    unread = torch.zeros(case.inputs["image"].shape[1:], dtype=torch.uint8)
    with torch.inference_mode():
        looks = look(network, [unread], chosen, device=torch.device("cpu"), bfloat16=False)
        found = probability_map(looks, (a["label_h"], a["label_w"]), chosen)
    close(found, case.out["prob"], rtol=1e-3, atol=1e-5)
