"""Class-balanced self-training: the loss by hand, the labels, the rounds."""

import pytest
import torch

import uda_hydra.losses as L
from tests.runs.test_stages import planned
from uda_hydra.methods.cbst import pooled_segmentation
from uda_hydra.types import IGNORE, Step


def test_a_batch_of_the_release_by_hand():
    source, target = (
        torch.tensor(pixels).T[None, :, None]
        for pixels in ([[2.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 3.0]])
    )
    labels = torch.tensor([[[0]]]), torch.tensor([[[1, 2, IGNORE]]])
    loss = pooled_segmentation((source, labels[0]), (target, labels[1]))
    assert float(loss) == pytest.approx(1.8896 / 3, abs=1e-4)
    reg = L.REGULARIZERS["mrkld"](target, labels[1])
    assert float(loss + 0.1 * reg) == pytest.approx(0.7457, abs=1e-4)
    assert float(loss + 0.01 * reg) == pytest.approx(0.6415, abs=1e-4)


def test_each_class_keeps_its_surest_share(make_trainer):
    shares = {}
    for portion in (0.2, 0.5):
        trainer = make_trainer("method=cbst/round", f"method.portion={portion}")
        trainer.prepare()
        method, target = trainer.method, trainer.pair.target
        labels = torch.stack([method.labels.read(key) for key in target.keys])
        shares[portion] = float((labels != IGNORE).float().mean())
        assert method.thresholds.max() <= 1
        trainer.step(*next(trainer.batches()), Step(0, 0.0))
        logged = method.monitor()
        assert {"threshold/0", "pseudo_share/all", "pseudo_share/18"} <= {*logged}
    # Rounding down costs a class less than a pixel; dividing by thresholds only adds labels.
    assert 0.199 <= shares[0.2] < shares[0.5]


def test_rounds_follow_each_other_with_growing_portions():
    stages = planned("method=cbst", "output=run", "loss.lambda_reg=0.01")
    assert [*stages] == ["source", "round1", "round2", "round3"]
    rounds = [stage.config for stage in [*stages.values()][1:]]
    assert [c.init for c in rounds] == [f"run/{n}/last.pt" for n in ("source", "round1", "round2")]
    assert [c.method.portion for c in rounds] == [0.2, 0.25, 0.3]
    assert [c.loss.lambda_reg for c in rounds] == [0.01] * 3
