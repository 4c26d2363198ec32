"""ADVENT's samples: images, labels and label map."""

from __future__ import annotations

import pytest
import torch

from tests.parity.images import normalised, stored
from uda_hydra.augment.resize import resize_image, resize_label
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.types import IGNORE


@pytest.mark.parametrize("name", ["gta5", "cityscapes"])
def test_samples(reference, tmp_path, name):
    case = reference("advent")[f"data_{name}"]
    found = stored(tmp_path, name, CITYSCAPES19, case.inputs["rgb"], case.inputs["ids"])
    (sample,) = found.samples
    size = tuple(case.args["size_wh"].tolist())
    image = resize_image(found.read_image(sample), size)
    torch.testing.assert_close(normalised(image), case.out["image"], rtol=0, atol=1e-4)
    size = tuple(case.args["labels_size_wh"].tolist()) if name == "cityscapes" else size
    label = torch.from_numpy(resize_label(found.read_label(sample), size))
    assert torch.equal(label.long(), official(case.out["label"]))
    if "map_vector" in case.out:
        vector = official(case.out["map_vector"])
        table = torch.from_numpy(found.table.copy())[: len(vector)]
        assert torch.equal(table.long(), vector)


def official(label: torch.Tensor) -> torch.Tensor:
    return label.where(label >= 0, IGNORE)
