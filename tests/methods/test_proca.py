"""The stages of ProCA, what they hand on, and what they do without a label."""

from __future__ import annotations

import math

import pytest
import torch

from tests.runs.test_stages import planned
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError
from uda_hydra.types import Step


def finished(trainer):
    trainer.prepare()
    trainer.fit(Run("stage", trainer.folder, steps=trainer.settings.steps, start=0, config={}))
    return trainer


def test_the_stages_of_a_run():
    stages = planned("method=proca", "output=run", "dataset=synthia2city", "init=resnet.pth")
    configs = {name: stage.config for name, stage in stages.items()}
    assert [*configs] == ["source", "prototype_init", "proca", "pseudo_label", "ssl"]
    assert [config.init for config in configs.values()] == [
        "resnet.pth",
        "run/source/last.pt",
        "run/source/last.pt",
        "run/proca/last.pt",
        "resnet.pth",
    ]
    assert configs["proca"].method.prototypes == "run/prototype_init/last.pt"
    assert configs["ssl"].method.labels == "run/pseudo_label/labels"
    assert [config.augmentation.get("colours") for config in configs.values()] == [
        *(None, None, "source", None, "target")
    ]
    steps = [config.trainer.steps for config in configs.values()]
    assert steps == [20000, 1, 90000, 1, 90000]
    assert [c.optimizer.lr for c in configs.values()][::2] == [5e-4, 2.5e-4, 5e-4]


def test_prototypes_are_handed_on(make_trainer, tmp_path):
    made = finished(make_trainer("method=proca/prototype_init", folder=tmp_path / "made"))
    file = made.folder / "last.pt"
    read = make_trainer("method=proca/adapt", f"method.prototypes={file}", folder=tmp_path / "read")
    own = make_trainer("method=proca/adapt", folder=tmp_path / "own")
    for trainer in (read, own):
        trainer.prepare()
        for level, table in trainer.method.prototypes.items():
            kept = made.method.prototypes[level]
            assert table.mean.equal(kept.mean)
            assert table.count.equal(kept.count)
    assert own.method.prototypes["feat"].count.sum() > 0

    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"method\.prototypes=.*last\.pt"):
        read.prepare()


def test_without_a_confident_cell_the_target_adds_nothing(make_trainer):
    trainer = make_trainer("method=proca/adapt", "method.threshold=1e9", "trainer.steps=1")
    trainer.prepare()
    before = trainer.method.prototypes["feat"].count.clone()
    source, target = next(trainer.batches())
    values = trainer.step(source, target, Step(0, 0.0))
    assert all(value.isfinite() for value in values.values())
    seen = trainer.method.monitor()
    assert seen["pseudo_share/all"] == 0
    # The loss of no cell is 0, which is ln k below chance.
    chance = math.log(trainer.method.segmenter.num_classes)
    assert seen["from_chance/feat_target"].item() == pytest.approx(-chance)
    grown = trainer.method.prototypes["feat"].count - before
    assert 0 < grown.sum() <= source.label.numel() // 64 + 100


def test_the_official_temperature_stays_at_chance(make_trainer):
    trainer = make_trainer("method=proca/adapt", "method.threshold=0.0", "trainer.steps=1")
    trainer.prepare()
    trainer.step(*next(trainer.batches()), Step(0, 0.0))
    seen = trainer.method.monitor()
    terms = [seen[f"from_chance/{k}_{d}"] for k in ("feat", "out") for d in ("source", "target")]
    assert max(abs(value.item()) for value in terms) < 0.02
    shares = [seen[f"pseudo_share/{k}"] for k in range(trainer.method.segmenter.num_classes)]
    assert sum(shares).item() == pytest.approx(seen["pseudo_share/all"].item())


@pytest.mark.parametrize("compat", ["fixed", "official"])
def test_the_frozen_projection_is_the_releases(make_trainer, compat):
    trainer = make_trainer(
        "method=proca/memory_bank", f"method.compat={compat}", "method.threshold=0.0"
    )
    trainer.prepare()
    weight = trainer.method.projector.fc1.weight
    before = weight.detach().clone()
    trainer.step(*next(trainer.batches()), Step(0, 0.0))
    assert weight.equal(before) == (compat == "official")


def test_labels_are_handed_on_and_a_damaged_one_is_named(make_trainer, tmp_path):
    made = finished(make_trainer("method=proca/pseudo_label", folder=tmp_path / "made"))
    folder = made.folder / "labels"
    trainer = make_trainer("method=proca/ssl", f"method.labels={folder}", folder=tmp_path / "read")
    trainer.prepare()
    store = trainer.method.labels
    counts = torch.stack([store.read(key).flatten().bincount(minlength=256) for key in store.keys])
    shares = counts.sum(dim=0)[: len(made.method.shares)] / counts.sum()
    torch.testing.assert_close(made.method.shares, shares.float())
    # Of every class 60 % and no more are left out, by the image's order of confidence.
    assert 0.35 < shares.sum() < 1

    (item, *_) = sorted(folder.rglob("*.item"))
    item.write_bytes(item.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"labels lacks 1 of 6 items.*Delete .*made"):
        trainer.prepare()
    item.unlink()
    with pytest.raises(UserError, match="labels lacks 1 of 6 items"):
        trainer.prepare()
    # The stage that makes them makes the one that is missing.
    finished(make_trainer("method=proca/pseudo_label", folder=tmp_path / "made"))
    trainer.prepare()
