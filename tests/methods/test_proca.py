"""The stages of ProCA, what they hand on, and what they do without a label."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.conftest import composed
from tests.runs.test_stages import planned
from uda_hydra import tasks
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError
from uda_hydra.methods.proca import pool_sums, shown_sums
from uda_hydra.types import IGNORE, Step


def finished(make_trainer, stage, folder):
    """A stage that trains nothing, after its one step."""
    trainer = make_trainer(f"method=proca/{stage}", "trainer.steps=1", folder=folder)
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
    made = finished(make_trainer, "prototype_init", tmp_path / "made")
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
    with pytest.raises(UserError, match=r"method\.prototypes=.*last\.pt"):
        read.prepare()


def test_first_prototypes_are_the_means_of_all_images_cells():
    torch.manual_seed(0)
    maps, labels = torch.randn(3, 5, 4, 6), torch.randint(4, (3, 4, 6))
    labels[0][labels[0] == 1] = IGNORE
    images = [shown_sums(m[None], label[None], 4) for m, label in zip(maps, labels, strict=True)]
    items = [{name: value[0] for name, value in image.items()} for image in images]
    whole = pool_sums(iter(items), classes=4)
    for k in range(4):
        cells = maps.movedim(1, -1)[labels == k].double()
        torch.testing.assert_close(whole["total"][k], cells.sum(0), atol=1e-5, rtol=1e-5)
        assert whole["count"][k] == len(cells)


def test_the_releases_prototypes_are_read_and_written(make_trainer, tmp_path):
    made = finished(make_trainer, "prototype_init", tmp_path / "made")
    official, ours = [], []
    for level in made.method.prototypes:
        official.append(str(tmp_path / f"prototype_{level}_dist.pth"))
        ours.append(str(tmp_path / f"{level}.safetensors"))
        convert(made.folder / "last.pt", official[-1], f"layout=proca_prototypes_{level}")
        convert(official[-1], ours[-1])
    content = torch.load(official[1], weights_only=True)
    assert [*content] == ["Proto", "Amount"]
    assert {tensor.dtype for tensor in content.values()} == {torch.float32}
    for number, files in enumerate((official, ours)):
        listed = ",".join(files)
        folder = tmp_path / str(number)
        reading = make_trainer("method=proca/adapt", f"method.prototypes=[{listed}]", folder=folder)
        reading.prepare()
        for level, table in reading.method.prototypes.items():
            assert table.mean.equal(made.method.prototypes[level].mean)
            assert table.count.equal(made.method.prototypes[level].count)
    reading.method.files = official[::-1]
    with pytest.raises(UserError, match=r"method\.prototypes=.*out_dist.*where .*feat needs"):
        reading.prepare()
    torn = Path(official[0])
    torn.write_bytes(torn.read_bytes()[:100])
    reading.method.files = official
    with pytest.raises(UserError, match=r"method\.prototypes=.*feat_dist.*cannot be read"):
        reading.prepare()


def convert(file, output, *overrides):
    tasks.run(composed("task=convert", f"init={file}", f"output={output}", *overrides), [])


@pytest.mark.parametrize("method", ["proca/memory_bank", "sdca/adapt", "fada/adapt"])
def test_the_others_do_without_a_confident_cell_too(make_trainer, method):
    threshold = [] if method == "fada/adapt" else ["method.threshold=1e9"]
    trainer = make_trainer(f"method={method}", *threshold, "trainer.steps=1")
    trainer.prepare()
    values = trainer.step(*next(trainer.batches()), Step(0, 0.0))
    assert all(value.isfinite() for value in values.values())
    assert all(p.isfinite().all() for p in trainer.method.parameters())


def test_a_moving_prototype_takes_in_the_source_last(make_trainer):
    method = make_trainer("method=proca/adapt", "method.use_momentum=true", "method.rho=0.9").method
    table = method.prototypes["feat"]
    maps = {
        domain: torch.full((1, table.mean.shape[1], 2, 2), value)
        for domain, value in (("source", 1.0), ("target", 2.0))
    }
    labels = dict.fromkeys(maps, torch.zeros(1, 2, 2, dtype=torch.long))
    method.contrast("feat", maps, labels)
    torch.testing.assert_close(table.mean[0], torch.full_like(table.mean[0], 0.9 + 0.1 * 0.9 * 2))


def test_the_distributions_of_sdca_are_the_sources(make_trainer, tmp_path):
    moved = []
    for brightness in (1.0, 0.5):
        trainer = make_trainer(
            "method=sdca/adapt", "method.threshold=0.0", folder=tmp_path / str(brightness)
        )
        trainer.prepare()
        first = {k: v.clone() for k, v in trainer.method.gaussians.state_dict().items()}
        source, target = next(trainer.batches())
        trainer.step(source, target._replace(image=target.image * brightness), Step(0, 0.0))
        moved.append(trainer.method.gaussians.state_dict())
    for name, value in moved[0].items():
        assert value.equal(moved[1][name]), name
        assert not value.equal(first[name]), name


def test_a_class_that_neither_domain_shows_has_no_prototype(make_trainer):
    trainer = make_trainer("method=proca/adapt", "method.threshold=0.0", "trainer.steps=1")
    method = trainer.method
    trainer.prepare()
    with torch.no_grad():
        for branch in method.segmenter.main_head.branches:
            branch.bias[0] = -1e4
        for table in method.prototypes.values():
            table.mean[0], table.count[0] = 0, 0
    source, target = next(trainer.batches())
    source = source._replace(label=source.label.where(source.label != 0, IGNORE))
    values = trainer.step(source, target, Step(0, 0.0))
    assert all(value.isfinite() for value in values.values())
    assert all(p.isfinite().all() for p in method.parameters())
    for table in method.prototypes.values():
        assert table.count[0] == 0
        assert not table.mean[0].any()
        assert table.count.sum() > 0
    assert method.monitor()["pseudo_share/0"] == 0


def test_self_training_on_images_without_a_label(make_trainer):
    trainer = make_trainer("method=proca/ssl", "trainer.steps=1", "optimizer.weight_decay=0")
    trainer.prepare()
    source, target = next(trainer.batches())
    nothing = torch.full_like(target.stored["labels"], IGNORE)
    before = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
    values = trainer.step(source, target._replace(stored={"labels": nothing}), Step(0, 0.0))
    assert all(value == 0 for value in values.values())
    assert all(p.equal(before[name]) for name, p in trainer.method.named_parameters())
    assert trainer.method.monitor()["pseudo_share/all"] == 0


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
    made = finished(make_trainer, "pseudo_label", tmp_path / "made")
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
    with pytest.raises(UserError, match=r"labels lacks 1 of 6 items.*delete that stage"):
        trainer.prepare()
    item.unlink()
    with pytest.raises(UserError, match="labels lacks 1 of 6 items"):
        trainer.prepare()
    # The stage that makes them makes the one that is missing.
    finished(make_trainer, "pseudo_label", tmp_path / "made")
    trainer.prepare()
