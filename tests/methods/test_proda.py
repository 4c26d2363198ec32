"""ProDA's stages on tiny streets: what they store, read and log."""

import os
import signal

import pytest
import torch
from torch import nn

import uda_hydra.losses as L
from tests.conftest import composed
from tests.models.test_checkpoints_loading import filled, official, saved
from tests.runs.test_stages import planned
from tests.test_laws import run_of
from uda_hydra.engine.events import Callback
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.errors import UserError
from uda_hydra.files import digest
from uda_hydra.methods.proda import read_prototypes
from uda_hydra.methods.proda_distil import load_teacher
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat
from uda_hydra.runs.checks import check_training
from uda_hydra.types import IGNORE, Step

SMALL = {
    "num_classes": 3,
    "blocks": (1, 1, 1, 1),
    "width": 2,
    "branch_channels": 32,
    "head_channels": 32,
}
FIRST = Step(0, 0.0)
NETWORK = ("model=proda_tiny", "model.branch_channels=32", "model.head_channels=32")


def one_step(trainer):
    trainer.prepare()
    batch = next(trainer.batches())
    return trainer.step(*batch, FIRST), batch


def test_denoising_stores_soft_labels_and_starts_from_prototypes(make_trainer):
    trainer = make_trainer("method=proda/denoise", *NETWORK)
    trainer.prepare()
    method, target = trainer.method, trainer.pair.target
    image = trainer.to_device.images(target.image(0)[None])
    with torch.no_grad():
        prediction = method.segmenter.eval()(image)
    stored = method.labels.read(target.keys[0])
    # Half precision, at the network's own resolution.
    torch.testing.assert_close(stored, prediction.main.softmax(1)[0], rtol=1e-3, atol=1e-4)
    assert method.prototypes.vectors.shape == (method.segmenter.num_classes, 32)
    assert method.prototypes.vectors.any()
    assert method.prototypes.drift == 0
    _, target = next(trainer.batches())
    assert target.stored["labels"].shape[-2:] == (16, 32)


def test_half_precision_changes_no_rectified_label():
    torch.manual_seed(0)
    soft = (4 * torch.randn(4, 19, 32, 56)).softmax(dim=1)
    distance = 8 * torch.rand(4, 19, 32, 56)
    one, other = (
        L.rectified_label(L.rectified(p, distance, temperature=1.0), min_confidence=0.0)
        for p in (soft, soft.half().float())
    )
    # Where two classes are within the rounding of each other, either may win.
    assert (one != other).float().mean() < 1e-3


def test_a_step_moves_teacher_and_prototypes_and_logs_the_labels(make_trainer):
    options = ["method.min_pixels=1", "method.ema_momentum=0.9"]
    trainer = make_trainer("method=proda/denoise", *NETWORK, *options)
    method = trainer.method
    before = method.teacher.network.main_head.classifier.weight.clone()
    values, _ = one_step(trainer)
    assert {f"loss/{term}" for term in ("seg", "ce", "rce", "reg", "structure")} == {*values}
    moved = method.teacher.network.main_head.classifier.weight - before
    student = method.segmenter.main_head.classifier.weight - before
    torch.testing.assert_close(moved, 0.1 * student, rtol=1e-2, atol=1e-7)
    logged = method.monitor()
    assert logged["prototypes/drift"] > 0
    shares = [logged[f"pseudo_share/{k}"] for k in range(19)]
    torch.testing.assert_close(sum(shares), logged["pseudo_share/all"])
    assert 0 < logged["pseudo_share/all"] <= 1


def test_the_teacher_may_use_its_running_statistics(make_trainer):
    modes = {}
    for choice in (True, False):
        trainer = make_trainer("method=proda/denoise", f"method.teacher_eval={choice}")
        trainer.method.train()
        trainer.method.before_step(FIRST)
        modes[choice] = {m.training for m in trainer.method.teacher.modules()}
    assert modes == {True: {False}, False: {True}}


def test_hard_labels_and_prototypes_of_a_file_take_the_place_of_ours(make_trainer, tmp_path):
    file = saved(tmp_path / "prototypes.pth", torch.ones(19, 32))
    options = ["method.rectify=false", "method.hard_threshold=0.0", "method.structure=false"]
    trainer = make_trainer("method=proda/denoise", *NETWORK, *options, f"method.prototypes={file}")
    values, (_, target) = one_step(trainer)
    assert "loss/structure" not in values
    assert target.stored["labels"].dtype == torch.uint8
    assert trainer.method.prototypes.first.eq(1).all()
    label = trainer.method.labels.read(trainer.pair.target.keys[0])
    assert label.shape == (48, 96)


@pytest.mark.parametrize("method", ["proda/denoise", "proda/distil", "proda/denoise extra=masked"])
def test_without_strong_views_the_remedy_is_named(method):
    crops = "scale=paper augmentation=varied_crop augmentation.crop=[64,32]"
    with pytest.raises(UserError, match="needs augmentation=weak_strong"):
        check_training(composed(*f"method={method} {crops}".split()))


class Kept(Callback):
    """Keeps the last evaluation."""

    def on_evaluate(self, evaluation):
        self.panels = evaluation.panels


def test_panels_show_labels_before_and_after_they_are_rectified(make_trainer):
    kept = Kept()
    overrides = ("method=proda/denoise", *NETWORK, "evaluation.network=teacher")
    trainer = make_trainer(*overrides, callbacks=[kept])
    trainer.prepare()
    method = trainer.method.train()
    image = trainer.to_device.images(trainer.pair.validation[0].image[None])
    with torch.no_grad():
        first = method.segmenter.eval()(image).main
    expected = L.probabilities(first)
    expected = torch.nn.functional.interpolate(
        expected, size=(12, 24), mode="bilinear", align_corners=True
    ).argmax(1)
    with torch.no_grad():
        for parameter in method.segmenter.parameters():
            parameter.zero_()
    method.train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    trainer.evaluate()
    labels = kept.panels[0].labels
    assert [*labels] == ["soft label", "rectified"]
    # Cell by cell the nearest pixel; 48 x 96 pixels are 12 x 24 cells.
    assert torch.from_numpy(labels["soft label"][::4, ::4]).equal(expected[0].to(torch.uint8))
    assert labels["rectified"].shape == kept.panels[0].truth.shape
    after = method.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    assert method.segmenter.training


@pytest.mark.parametrize("content", [{"a": 1}, torch.ones(3), b"damaged"])
def test_a_file_without_prototypes_is_refused(tmp_path, content):
    file = tmp_path / "prototypes.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(UserError, match=r"method\.prototypes="):
        read_prototypes(str(file))


def test_options_are_checked(make_trainer):
    for option, complaint in {
        "method.min_pixels=0": r"method\.min_pixels must be 1 or more",
        "method.regularizer=l2": r"method\.regularizer must be one of mrkld, mrent",
        "method.prototype_temperature=0.0": r"method\.prototype_temperature must be positive",
    }.items():
        with pytest.raises(UserError, match=complaint):
            make_trainer("method=proda/denoise", option)


def test_a_teacher_brings_or_lacks_the_norm_before_its_head(tmp_path):
    for norm in (False, True):
        network = deeplabv2_cat(**SMALL, feat_norm=norm)
        content = {"ResNet101": {"model_state": official(filled(network), "proda")}}
        file = saved(tmp_path / f"{norm}.pkl", content | {"iter": 1, "best_iou": 0.5})
        teacher = deeplabv2_cat(**SMALL, feat_norm=True)
        load_teacher(teacher, str(file))
        assert (teacher.feat_norm is not None) == norm
        assert {*teacher.state_dict()} == {*network.state_dict()}
        for name, value in filled(network).items():
            assert value.ndim == 0 or teacher.state_dict()[name].equal(value)
    with pytest.raises(ValueError, match=r"set model\.feat_norm=true"):
        load_teacher(deeplabv2_cat(**SMALL), str(tmp_path / "True.pkl"))


def test_the_teacher_of_a_distillation_never_changes(make_trainer):
    trainer = make_trainer("method=proda/distil", *NETWORK, "method.threshold=0.0")
    before = {name: t.clone() for name, t in trainer.method.teacher.state_dict().items()}
    values, (_, target) = one_step(trainer)
    assert values["loss/kd"] > 0
    assert (target.stored["labels"] != IGNORE).any()
    after = trainer.method.teacher.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    assert not any(m.training for m in trainer.method.teacher.network.modules())
    assert any(
        m.training for m in trainer.method.segmenter.modules() if isinstance(m, nn.Dropout2d)
    )


@pytest.mark.parametrize("method", ["proda/denoise", "proda/distil"])
def test_what_is_damaged_or_missing_is_made_again(make_trainer, tmp_path, method):
    class StopAfterTwo(Callback):
        def on_log(self, step, values):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    overrides = [f"method={method}", *NETWORK, "trainer.steps=3", "trainer.log_every=1"]
    whole = make_trainer(*overrides, folder=tmp_path / "whole")
    whole.fit(run_of(whole))
    first = make_trainer(*overrides, folder=tmp_path / "parts", callbacks=[StopAfterTwo()])
    with pytest.raises(Interrupted):
        first.fit(run_of(first))
    damaged, *others = sorted((tmp_path / "parts").rglob("*.item"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    others[-1].unlink()
    second = make_trainer(*overrides, folder=tmp_path / "parts")
    second.fit(run_of(second))
    one, other = (digest(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert one == other


def test_the_four_stages_begin_where_the_ones_before_end():
    stages = planned("method=proda", "output=run")
    assert [*stages] == ["warmup", "stage1", "stage2", "stage3"]
    warmup, first, second, third = (stage.config for stage in stages.values())
    assert first.init == "run/warmup/last.pt"
    assert (warmup.init, second.init, second.method.teacher) == (None, None, "run/stage1/last.pt")
    assert third.init == third.method.teacher == "run/stage2/last.pt"


@pytest.mark.parametrize("pair", ["gta2city", "synthia2city"])
def test_the_recipes_of_the_release(pair):
    stages = planned(f"experiment=proda/{pair}", "output=run")
    warmup, first, second, third = configs = [stage.config for stage in stages.values()]
    for config in configs:
        check_training(config)
        assert config.dataset.name == pair
        assert config.dataset.target.size == [2048, 1024]
        assert (config.trainer.steps, config.trainer.batch_size) == (62412, 4)
        assert (config.optimizer.horizon, config.optimizer.weight_decay) == (90000, 2e-4)
        assert config.augmentation.crop == [896, 512]
    assert [c.model.feat_norm for c in configs] == [False, False, True, True]
    assert [c.model.batch_norm for c in configs] == ["frozen", "trained", "trained", "trained"]
    assert [c.optimizer.lr for c in configs] == [2.5e-4, 1e-4, 6e-4, 6e-4]
    assert [c.optimizer.head_lr_factor for c in configs] == [10, 1, 10, 10]
    assert [c.optimizer.backbone_repeats for c in configs] == [True, False, True, True]
    assert first.loss.lambda_reg == (0.1 if pair == "gta2city" else 0.0)
    assert (warmup.loss.lambda_adv, first.loss.lambda_structure) == (0.01, 10)
    assert second.init == "data/init/r101_1x_sk0.pth"
    assert third.init == "run/stage2/last.pt"
