"""Rectified pseudo labels: the loss by hand, and the stages."""

import pytest
import torch
from torch import nn

from tests.runs.test_stages import planned
from uda_hydra.methods.seg_uncertainty import SegUncertainty
from uda_hydra.types import IGNORE, Prediction, Source, Step, Target


class TwoHeads(nn.Module):
    """Says the same of every image."""

    num_classes = 2

    def __init__(self, main, aux):
        super().__init__()
        self.main, self.aux = (torch.tensor(z).T[None, :, None] for z in (main, aux))

    def forward(self, image):
        return Prediction(self.main, self.aux, image)


@pytest.mark.parametrize(("weights", "expected"), [((1.0, 1.0), 0.3810), ((1.0, 7.0), 1.5570)])
def test_losses_by_hand(weights, expected):
    network = TwoHeads(
        main=((2.0, 0.0), (0.0, 1.0), (0.0, 2.0)), aux=((1.0, 0.0), (0.0, 0.0), (0.0, 2.0))
    )
    method = SegUncertainty(network, labels=None, max_weight=1.0, rare_share=0.0)
    method.balance.weights = lambda label: torch.tensor(weights)
    label = torch.tensor([[[0, 1, IGNORE]]])
    image = torch.zeros(1, 3, 1, 3)
    (update,) = method.losses(
        Source(image, label), Target(image, stored={"labels": label}), Step(0, 0.0)
    )
    terms = update.terms
    total = terms["seg"] + terms["variance"] + 0.5 * (terms["seg_aux"] + terms["variance_aux"])
    assert float(total) == pytest.approx(expected, abs=1e-4)
    assert method.monitor()["pseudo_share/all"] == pytest.approx(2 / 3)


def test_the_stages_begin_where_the_ones_before_end():
    source, labels, rectify = (
        stage.config for stage in planned("method=seg_uncertainty", "output=run").values()
    )
    assert labels.init == rectify.init == "run/source/last.pt"
    assert (labels.method.scales, labels.method.aux_weight) == ([1.0, 1.25], 0.5)
    assert rectify.method.labels == "run/labels/labels"
    assert source.init is None


def test_a_network_with_one_head_labels_by_it_alone(make_trainer):
    one_head = ("method=dense_labels", "method.aux_weight=0.5", "model.multi_level=false")
    trainer = make_trainer(*one_head, "method.scales=[1.0]")
    trainer.prepare()
    assert trainer.method.labels.read(trainer.pair.target.keys[0]).shape == (48, 96)
