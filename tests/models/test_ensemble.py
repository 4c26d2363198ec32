"""Several networks that answer together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from uda_hydra.models.ensemble import Ensemble
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import Normalization, Prediction


class Constant(nn.Module):
    """Answers the same whatever it is shown."""

    normalization = Normalization("rgb", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    predict = Segmenter.predict

    def __init__(self, main: list[float], aux: list[float], dtype: torch.dtype) -> None:
        super().__init__()
        self.heads = [torch.tensor(x, dtype=dtype)[None, :, None, None] for x in (main, aux)]

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(*self.heads, features=image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_summed_by_weight(dtype):
    members = [Constant([1.0, 2.0], [8.0, 0.0], dtype), Constant([3.0, 0.0], [0.0, 4.0], dtype)]
    both = Ensemble(members, [0.25, 0.5])
    image = torch.zeros(1, 3, 1, 1)
    assert both.predict(image).flatten().tolist() == [1.75, 0.5]
    assert both.predict(image, aux_weight=0.5).flatten().tolist() == [2.75, 1.5]
    # In half precision the sum would round away what decides between close classes.
    assert both.predict(image).dtype == torch.float32


def test_probabilities_are_averaged_by_weight():
    # FDA's example: (.6 .4), (.3 .7) and (.2 .8) give (.3666 .6334).
    shown = ([0.6, 0.4], [0.3, 0.7], [0.2, 0.8])
    members = [Constant([math.log(p) for p in one], [0.0, 0.0], torch.float32) for one in shown]
    both = Ensemble(members, [0.3333, 0.3333, 0.3334], of="probabilities")
    logits = both.predict(torch.zeros(1, 3, 1, 1))
    assert logits.softmax(dim=1).flatten().tolist() == pytest.approx([0.36665, 0.63335], abs=1e-6)
    sure = Ensemble([Constant([0.0, 200.0], [0.0, 0.0], torch.float32)], [1.0], of="probabilities")
    assert sure.predict(torch.zeros(1, 3, 1, 1)).isfinite().all()
    with pytest.raises(ValueError, match="ensemble_of must be one of logits, probabilities"):
        Ensemble(members, [1.0] * 3, of="votes")
