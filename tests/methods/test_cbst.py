"""Class-balanced self-training: the loss by hand, the labels, the rounds."""

import pytest
import torch

import uda_hydra.losses as L
from tests.conftest import SMALL, composed
from tests.runs.test_stages import planned
from uda_hydra.errors import UserError
from uda_hydra.methods.cbst import SomeLabels, pooled
from uda_hydra.runs.checks import check_training
from uda_hydra.types import IGNORE, Step


def test_a_batch_of_the_release_by_hand():
    source, target = (
        torch.tensor(pixels).T[None, :, None]
        for pixels in ([[2.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 3.0]])
    )
    labels = torch.tensor([[[0]]]), torch.tensor([[[1, 2, IGNORE]]])
    loss = pooled(
        *((L.segmentation(z, y), y) for z, y in zip((source, target), labels, strict=True))
    )
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
        labels = torch.stack([method.stored()["labels"].read(key) for key in target.keys])
        shares[portion] = float((labels != IGNORE).float().mean())
        assert method.thresholds.max() <= 1
        trainer.step(*next(trainer.batches()), Step(0, 0.0))
        logged = method.monitor()
        assert {"threshold/0", "pseudo_share/all", "pseudo_share/18"} <= {*logged}
    # Rounding down costs a class less than a pixel; dividing by thresholds only adds labels.
    assert 0.199 <= shares[0.2] < shares[0.5]


def test_soft_labels_of_crst_by_hand():
    rows = [[0.4, 0.48, 0.12], [0.45, 0.4, 0.15], [0.05, 0.45, 0.5]]
    shown = torch.tensor(rows).T[None, :, None]
    soft, used = L.entropy_regularized_label(shown, torch.tensor([0.9, 0.5, 0.2]), alpha=0.25)
    assert used.flatten().tolist() == [True, False, True]
    expected = [[0.0383, 0.8344, 0.1273], [0.0, 0.0165, 0.9835]]
    torch.testing.assert_close(soft[0, :, 0, [0, 2]].T, torch.tensor(expected), rtol=0, atol=1e-4)
    hard, _ = L.entropy_regularized_label(shown, torch.tensor([0.9, 0.5, 0.2]), alpha=1e-3)
    assert hard[0, :, 0].argmax(dim=0).tolist() == soft[0, :, 0].argmax(dim=0).tolist()
    assert hard.amax(dim=1).allclose(torch.ones(()))
    label = torch.tensor([[[1, IGNORE, IGNORE]]])
    loss = L.soft_cross_entropy(shown.log(), soft, label)
    assert float(loss) == pytest.approx(0.9175, abs=1e-4)
    # What a view has made smaller counts in full, and nothing is no number.
    assert float(L.soft_cross_entropy(shown.log(), soft / 2, label)) == pytest.approx(float(loss))
    assert float(L.soft_cross_entropy(shown.log(), 0 * soft, label * 0 + IGNORE)) == 0


def test_soft_cross_entropy_enlarges_in_full_precision():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 5, 5).bfloat16()
    soft, label = torch.rand(1, 3, 16, 16), torch.zeros(1, 16, 16).long()
    expected = L.soft_cross_entropy(logits.float(), soft, label)
    assert float(L.soft_cross_entropy(logits, soft, label)) == pytest.approx(float(expected))


def test_crst_learns_soft_labels_and_small_things_are_looked_for(make_trainer):
    # Every class but the largest counts as rare.
    given = ("method.soft_alpha=0.25", "method.rare_share=0.4", "method.portion=1.0")
    trainer = make_trainer("method=cbst/round", *given, "augmentation=mined_crop",
                           "augmentation.crop=[32,32]", "augmentation.chance=1.0")  # fmt: skip
    trainer.prepare()
    source, target = next(trainer.batches())
    assert target.stored["soft"].shape == (2, 19, 32, 32)
    # In half precision.
    total = target.stored["soft"].sum(1)
    torch.testing.assert_close(total, torch.ones(2, 32, 32), rtol=0, atol=2e-3)
    values = trainer.step(source, target, Step(0, 0.0))
    assert values["loss/seg"] > 0
    rare = trainer.method.stored()["rare"]
    whole = trainer.method.stored()["labels"].read(rare.keys[0])
    assert {*rare.read(rare.keys[0]).unique().tolist()} <= {*rare.classes.tolist(), IGNORE}
    kept = SomeLabels(trainer.method.stored()["labels"], whole.flatten()[:1]).read(rare.keys[0])
    assert kept[whole == whole[0, 0]].unique().tolist() == [whole[0, 0].item()]


@pytest.mark.parametrize(
    "half", [("method.rare_share=1e-3",), ("augmentation=mined_crop", "augmentation.crop=[32,32]")]
)
def test_mining_without_its_other_half_is_refused(half):
    with pytest.raises(UserError, match=r"augmentation=mined_crop and a method\.rare_share"):
        check_training(composed(*SMALL, "method=cbst/round", *half))


def test_rounds_follow_each_other_with_growing_portions():
    stages = planned("method=cbst", "output=run", "method.regularizer=mrkld")
    assert [*stages] == ["source", "round1", "round2", "round3"]
    rounds = [stage.config for stage in [*stages.values()][1:]]
    assert [c.init for c in rounds] == [f"run/{n}/last.pt" for n in ("source", "round1", "round2")]
    assert [c.method.portion for c in rounds] == [0.2, 0.25, 0.3]
    assert [c.method.regularizer for c in rounds] == ["mrkld"] * 3
