"""CaCo's retraining on tiny streets: the stages, what they store and log."""

import pytest
import torch

from tests.conftest import composed
from tests.runs.test_stages import planned
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_training
from uda_hydra.types import Step

CROP = ("augmentation.crop=[48,24]",)


def test_the_stages_begin_where_the_ones_before_end():
    stages = planned("method=caco_retrain", "output=run")
    assert [*stages] == ["source", "caco", "labels", "retrain"]
    source, caco, labels, retrain = (stage.config for stage in stages.values())
    assert (source.init, caco.init) == (None, "run/source/last.pt")
    assert labels.init == retrain.init == "run/caco/last.pt"
    assert retrain.method.labels == "run/labels/labels"
    # The crops that need labels belong to the last stage alone.
    kinds = [c.augmentation._target_.split(".")[-1] for c in (source, caco, labels, retrain)]
    assert kinds == [*["RandomView"] * 3, "VariedCrop"]


def test_labels_of_a_stage_are_those_that_the_next_one_trains_with(make_trainer, tmp_path):
    maker = make_trainer("method=dense_labels", "method.scales=[1.0,0.5]", folder=tmp_path / "one")
    maker.prepare()
    folder = tmp_path / "one" / "labels"
    trainer = make_trainer("method=caco/retrain", *CROP, f"method.labels={folder}")
    trainer.prepare()
    method, keys = trainer.method, trainer.pair.target.keys
    assert method.labels.read(keys[0]).shape == (48, 96)
    source, target = next(trainer.batches())
    assert target.stored["labels"].shape == target.plain.stored["labels"].shape == (2, 24, 48)
    values = trainer.step(source, target, Step(0, 0.0))
    assert {"loss/seg", "loss/contrast"} <= {*values}
    assert method.monitor()["pseudo_share/all"] == pytest.approx(1.0)
    assert method.monitor()["queue/fill"] > 0

    next(folder.rglob("*.item")).unlink()
    reader = ("method=caco/retrain", *CROP)
    with pytest.raises(UserError, match="lacks 1 of 6 items"):
        make_trainer(*reader, f"method.labels={folder}").prepare()
    # In another label space the numbers stand for other classes.
    identity = folder / "identity.json"
    identity.write_text(identity.read_text().replace('"terrain"', '"lawn"'))
    with pytest.raises(UserError, match=r"is of 19 classes \(road, .*, lawn, .* not the 19 of"):
        make_trainer(*reader, f"method.labels={folder}").prepare()
    (folder.parent / "identity.json").write_text('{"a training": "has one too"}')
    with pytest.raises(UserError, match="labels are in the folder labels of the stage"):
        make_trainer(*reader, f"method.labels={folder.parent}").prepare()


def test_dense_labels_are_the_mean_over_sizes_and_mirrors(make_trainer):
    trainer = make_trainer("method=dense_labels", "method.scales=[1.0]")
    trainer.prepare()
    image = trainer.to_device.images(trainer.pair.target.image(0)[None])
    network = trainer.method.segmenter.eval()
    with torch.no_grad():
        looks = network(image).main.softmax(1), network(image.flip(3)).main.softmax(1).flip(3)
    size = {"size": (48, 96), "mode": "bilinear", "align_corners": True}
    mean = sum(torch.nn.functional.interpolate(look, **size) for look in looks) / 2
    stored = trainer.method.labels.read(trainer.pair.target.keys[0])
    assert stored.equal(mean.argmax(1)[0].to(torch.uint8))


def test_the_target_pass_moves_running_statistics_alone(make_trainer):
    states = []
    for target_pass in (True, False):
        trainer = make_trainer("method=caco/retrain", *CROP, f"method.target_pass={target_pass}")
        trainer.prepare()
        trainer.step(*next(trainer.batches()), Step(0, 0.0))
        states.append(trainer.method.segmenter.state_dict())
    different = {name for name in states[0] if not states[0][name].equal(states[1][name])}
    assert different
    assert all("running" in name or "num_batches" in name for name in different)


def test_without_the_crops_the_remedy_is_named():
    with pytest.raises(UserError, match="needs augmentation=varied_crop_twice"):
        check_training(composed("method=caco/retrain", "augmentation.plain=false"))
