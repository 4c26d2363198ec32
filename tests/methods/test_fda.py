"""FDA: the labels of several networks, and the stages."""

import pytest
import torch

import uda_hydra.losses as L
from tests.runs.test_stages import planned
from tests.test_laws import run_of
from uda_hydra.losses.class_threshold import EDGES
from uda_hydra.methods.fda import FDA
from uda_hydra.types import IGNORE, Step


@pytest.mark.parametrize(
    ("confidence", "threshold", "kept"),
    [
        ((0.34, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.92, 0.95, 0.99), 0.92, 3),
        ((0.34, 0.4, 0.5, 0.55, 0.6), 0.55, 2),
        ((0.5,), 0.5, 1),
    ],
)
def test_thresholds_by_hand(confidence, threshold, kept):
    rows = [[p, (1 - p) / 2, (1 - p) / 2] for p in confidence]
    probability = torch.tensor(rows).T[None, :, None]
    method = FDA(torch.nn.Identity(), power=2.0, teachers=None, keep_fraction=0.34, cap=0.9)
    found = method.threshold(iter([L.image_histograms(probability)[0]]))
    # The lower edge of its bin.
    assert found[0] == EDGES[torch.tensor(threshold) >= EDGES].max().clamp(max=0.9)
    assert (L.sure_label(*probability.max(dim=1), found) != IGNORE).sum() == kept


def test_labels_are_those_of_the_teachers_mean(make_trainer, tmp_path):
    files = []
    for number in range(2):
        overrides = ("method=fda/adapt", "trainer.steps=1", f"seed={number}")
        trainer = make_trainer(*overrides, folder=tmp_path / f"{number}")
        trainer.prepare()
        trainer.fit(run_of(trainer))
        files.append(trainer.folder / "last.pt")
    given = f"method.teachers=[{','.join(map(str, files))}]"
    trainer = make_trainer("method=fda/adapt", given, "method.keep_fraction=1.0")
    trainer.prepare()
    method, target = trainer.method, trainer.pair.target
    image = trainer.to_device.images(target.image(0)[None])
    looks = []
    for file in files:
        other = make_trainer("method=fda/adapt", f"init={file}", folder=tmp_path / "look").method
        with torch.no_grad():
            logits = other.segmenter.eval()(image).main
        size = {"size": (48, 96), "mode": "bilinear", "align_corners": True}
        looks.append(torch.nn.functional.interpolate(logits, **size).softmax(1))
    assert method.labels.read(target.keys[0]).long().equal(sum(looks).argmax(1)[0])
    values = trainer.step(*next(trainer.batches()), Step(0, 0.0))
    assert {"loss/seg", "loss/ent", "loss/ce", "loss/ce_aux"} <= {*values}
    # The teachers end with the labels: they are no part of the method.
    assert all("teacher" not in name for name in method.state_dict())


def test_three_networks_label_for_three_more():
    stages = {n: s.config for n, s in planned("method=fda", "output=run").items()}
    assert [*stages] == ["beta1", "beta5", "beta9", "self1", "self5", "self9"]
    assert [c.augmentation.beta for c in stages.values()] == [0.01, 0.05, 0.09] * 2
    teachers = [f"run/{name}/last.pt" for name in ("beta1", "beta5", "beta9")]
    assert all(stages[name].method.teachers == teachers for name in ("self1", "self5", "self9"))
    assert all(stages[name].method.teachers is None for name in ("beta1", "beta5", "beta9"))
