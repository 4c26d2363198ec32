"""Order of the source images and choice of their crops against the official numbers."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from uda_hydra.augment.view import first_accepted, is_varied
from uda_hydra.augment.warp import warp
from uda_hydra.data import class_balanced
from uda_hydra.data.class_balanced import class_balanced_draws, rare_class_probability
from uda_hydra.data.samplers import files_by_class
from uda_hydra.data.scan import Statistics
from uda_hydra.types import Crop, View


def counted(counts: torch.Tensor) -> Statistics:
    files = tuple((f"{i}.png", 1) for i in range(len(counts)))
    classes = tuple(f"class {c}" for c in range(counts.shape[1]))
    raw_ids = tuple((number,) for number in range(len(classes)))
    return Statistics("any", classes, files, counts.numpy(), raw_ids)


def test_class_balanced_list_of_proca(reference, monkeypatch):
    case = reference("proca")["cb_sampling"]
    monkeypatch.setattr(class_balanced, "BLOCK", case.args["sub_epoch"])
    draws = class_balanced_draws(
        case.inputs["presence"].numpy(),
        random=np.random.RandomState(case.args["seed"]),
        skip_first=True,
    )
    found = [*islice(draws, case.out["length"])]
    assert np.array_equal(found, case.out["file_index"].numpy())


@pytest.mark.parametrize("name", ["rcs_probability", "rcs_probability_hot"])
def test_rare_class_probability(reference, name):
    case = reference("modern")[name]
    statistics = counted(case.inputs["counts"])
    found = rare_class_probability(statistics.frequency, temperature=case.args["tau"])
    assert np.allclose(found, case.out["probability64"].numpy(), rtol=0, atol=1e-7)
    assert found.nonzero()[0].tolist() == sorted(case.out["classes"].tolist())


def test_rare_class_replay(reference):
    case = reference("modern")["rcs_replay"]
    statistics = counted(case.inputs["counts"])
    files, _ = files_by_class(statistics, case.args["min_pixels"])
    for rows, expected in zip(files, case.out["files"].tolist(), strict=True):
        assert rows.tolist() == [file for file in expected if file >= 0]
    limit = int(case.args["min_pixels"] * case.args["min_crop_ratio"])
    drawn = zip(
        case.inputs["drawn_class"].tolist(),
        case.inputs["drawn_file"].tolist(),
        case.inputs["crop_pixels"].tolist(),
        case.out["source_file"].tolist(),
        case.out["taken"].tolist(),
        case.out["runs"].tolist(),
        strict=True,
    )
    for number, file, pixels, source_file, taken, runs in drawn:
        assert files[number][file] == source_file
        tries = enumerate(pixels)
        assert first_accepted(tries, lambda one: one[1] > limit)[0] == taken
        assert len(pixels) - len([*tries]) == runs


def test_crops_of_more_than_one_class(reference):
    case = reference("modern")["crop75"]
    size = (case.args["crop_w"], case.args["crop_h"])
    for label, windows, accepted, expected in zip(
        case.inputs["label"],
        case.inputs["windows_yx"].tolist(),
        case.out["accepted"].tolist(),
        case.out["crop"],
        strict=True,
    ):
        whole = (label.shape[1], label.shape[0])
        crops = [warp(label, View(whole, (Crop(x, y, *size),)), kind="label") for y, x in windows]
        number, chosen = first_accepted(
            enumerate(crops), lambda one: is_varied(one[1], case.args["max_ratio"])
        )
        assert number == accepted
        assert torch.equal(chosen, expected)
