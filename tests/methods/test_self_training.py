"""DACS, DAFormer and MIC, seen on a network small enough to follow."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import uda_hydra.losses as L
from tests.runs.test_stages import planned
from tests.toys.networks import STEP, Toy, batch
from uda_hydra.errors import UserError
from uda_hydra.methods.minent import MinEnt
from uda_hydra.methods.proca_labels import PseudoLabels
from uda_hydra.methods.self_training import SelfTraining
from uda_hydra.models.checkpoints.export import official
from uda_hydra.models.checkpoints.layouts import BY_NAME
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.checkpoints.names import rename_back
from uda_hydra.models.checkpoints.reading import read_checkpoint
from uda_hydra.models.daformer import mix_transformer
from uda_hydra.models.hrda import hrda_mix_transformer
from uda_hydra.models.normalizations import normalization
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.runs.checks import check_training
from uda_hydra.types import IGNORE, Source, Step, Target, View

LABELS = {"threshold_percent": 0.6, "cap": 0.9, "test_size": None, "label_size": None}
PLAIN = {
    "ema_momentum": 0.9,
    "teacher_follows": "before",
    "threshold": 0.0,
    "confidence": "batch",
    "margins": None,
    "mix": "image",
    "jitter_probability": 0.0,
    "jitter_strength": 0.2,
    "blur_probability": 0.0,
    "distance_classes": None,
    "distance_share": 0.75,
    "mask_ratio": None,
    "mask_block": 8,
    "mask_tokens": False,
    "mirror_labels": False,
    "detail_weight": 0.1,
    "source_mean": "all",
    "align_corners": False,
}


class Stages(nn.Module):
    """A backbone of one stage."""

    def __init__(self, stem):
        super().__init__()
        self.stem = stem

    def forward(self, image):
        return (self.stem(image),)


class Network(Toy):
    normalization = normalization("caffe")
    predict = Segmenter.predict

    @property
    def backbone(self):
        return Stages(self.stem)

    def context(self, image):
        return image


class Seen(SelfTraining):
    """Keeps the inputs of the student and of its weighted losses."""

    def __init__(self, **changes):
        super().__init__(Network(aux=False), **PLAIN | changes)
        self.images, self.costs = [], []
        self.segmenter.register_forward_pre_hook(lambda _, given: self.images.append(given[0]))

    def cost(self, prediction, label, weight=None, over="all"):
        if weight is not None:
            self.costs.append((label, weight))
        return super().cost(prediction, label, weight, over)


def pair(count=2):
    source, target = batch(count)
    target = target.image[:, :, :32, :48]
    return source, Target(target, view=(View((48, 32)),) * count)


def seen(**changes):
    method, (source, target) = Seen(**changes), pair()
    terms = [{*update.terms} for update in method.losses(source, target, STEP)]
    return method, source, target, terms


def test_what_is_pasted_has_the_image_and_label_of_the_source_and_weighs_one():
    method, source, target, terms = seen(threshold=0.99)
    label, weight = method.costs[0]
    pasted = (method.images[1] == source.image).all(dim=1)
    assert torch.equal(method.images[1], source.image.where(pasted[:, None], target.image))
    pseudo = method.pseudo_label(target)[0]
    assert torch.equal(label, source.label.where(pasted, pseudo))
    # Two of the three classes are pasted; no pixel of the rest is sure.
    for one, where in zip(source.label, pasted, strict=True):
        assert len(one[where].unique()) == 2
    assert torch.equal(weight, pasted.float())
    assert terms == [{"seg"}, {"mixed"}]


def test_without_a_mix_the_student_sees_the_target_alone():
    method, _, target, _ = seen(mix="none")
    assert torch.equal(method.images[1], target.image)
    assert method.costs[0][1].eq(1).all()
    # Then the two domains may differ in size.
    [*Seen(mix="none").losses(*batch(), STEP)]
    with pytest.raises(UserError, match=r"augmentation\.crop"):
        [*Seen().losses(*batch(), STEP)]


def test_masked_images_keep_label_and_weight_of_the_whole():
    method, _, target, terms = seen(mask_ratio=0.5, mix="none", margins=[0.25, 0.0, 0.0, 0.0])
    image = method.images[2]
    hidden = (image == 0).all(dim=1)
    assert torch.equal(image, target.image * ~hidden[:, None])
    cells = hidden.unflatten(2, (6, 8)).unflatten(1, (4, 8)).float().mean(dim=(2, 4))
    assert cells.unique().tolist() == [0, 1]
    (label, weight), (masked_label, masked_weight) = method.costs
    assert torch.equal(label, masked_label)
    assert torch.equal(weight, masked_weight)
    assert weight[:, :8].eq(0).all() and weight[:, 8:].eq(1).all()
    assert terms[-1] == {"masked"}


def test_the_share_of_sure_pixels_is_that_of_the_batch_or_of_each_image():
    probability = torch.tensor([[0.9, 0.95], [0.5, 0.9]]).view(2, 1, 2)
    batch_wide = L.confident_share(probability, 0.9, over="batch")
    assert batch_wide.flatten().tolist() == [0.75]
    own = L.confident_share(probability, 0.9, over="image")
    assert own.flatten().tolist() == [1.0, 0.5]


@pytest.mark.parametrize("follows", ["before", "after"])
def test_the_teacher_begins_as_a_copy_and_lags(follows):
    method = Seen(teacher_follows=follows)
    teacher, student = method.teacher.network.stem.bias, method.segmenter.stem.bias

    def move(step: int, value: float) -> None:
        method.before_step(Step(step, 0.0))
        with torch.no_grad():
            student.fill_(value)
        method.after_step(Step(step, 0.0))

    move(0, 2.0)
    move(1, 4.0)
    if follows == "after":
        # A copy of 2, then half way to 4.
        assert teacher.tolist() == [3.0] * 4
    else:
        # Half way from the beginning to 2.
        initial = Network(aux=False).stem.bias
        torch.testing.assert_close(teacher.data, (initial.data + 2) / 2)


def test_student_or_teacher_is_scored():
    method = Seen()
    both = {"student": method, "teacher": method.teacher.network}
    assert method.scored("both") == both
    assert method.scored("teacher") == {"teacher": both["teacher"]}
    assert method.scored(None) == method.scored("student") == {"student": method}
    with pytest.raises(ValueError, match=r"evaluation\.network"):
        MinEnt(Toy(), hardest=1.0, prior_strictness=None).scored("teacher")


@pytest.mark.parametrize(
    ("layout", "network"), [("daformer", mix_transformer), ("hrda", hrda_mix_transformer)]
)
def test_a_released_checkpoint_begins_student_teacher_and_frozen_backbone(
    tmp_path, layout, network
):
    options = {"num_classes": 3, "size": "tiny", "head_channels": 8}
    options |= {"window": [32, 32]} if layout == "hrda" else {}
    weights = {
        name: torch.rand_like(w) if w.is_floating_point() else w
        for name, w in network(**options).state_dict().items()
    }
    theirs = rename_back(weights, BY_NAME[layout])
    # The student, and next to it what the release never loads from a file again.
    content = {f"model.{theirs[name]}": w for name, w in weights.items()}
    content |= {f"ema_model.{theirs[name]}": w + 1 for name, w in weights.items()}
    torch.save({"meta": {}, "state_dict": content, "optimizer": {}}, tmp_path / "latest.pth")

    student = network(**options)
    report = load_weights(student, tmp_path / "latest.pth")
    assert (report.layout, report.missing) == (layout, ())
    method = SelfTraining(student, **PLAIN | {"distance_classes": [0]})
    for found in (method.segmenter, method.teacher.network):
        assert all(torch.equal(w, weights[name]) for name, w in found.state_dict().items())
    for name, w in method.initial.network.state_dict().items():
        assert torch.equal(w, weights[f"backbone.{name}"])
    back = official(read_checkpoint(tmp_path / "latest.pth"), BY_NAME[layout])
    assert all(torch.equal(back[name], weights[ours]) for ours, name in theirs.items())


def test_features_are_as_far_as_they_have_moved():
    method = Seen(distance_classes=[0, 1, 2], distance_share=0.0)
    source, target = pair()
    with torch.no_grad():
        method.segmenter.stem.bias += torch.tensor([3.0, 4.0, 0.0, 0.0])
    first = next(method.losses(source, target, STEP))
    torch.testing.assert_close(first.terms["distance"], torch.tensor(5.0))
    empty = Source(source.image, torch.full_like(source.label, IGNORE))
    first = next(method.losses(empty, target, STEP))
    assert first.terms["distance"] == 0


def test_a_host_alone_learns_from_the_source_and_the_rest_is_added():
    network = Network(aux=False)
    host = MinEnt(network, hardest=1.0, prior_strictness=None)
    changes = {"mix": None, "mask_ratio": 0.5, "distance_classes": [0], "distance_share": 0.0}
    method = SelfTraining(network, host=host, **PLAIN | changes)
    source, target = pair()
    terms = [{*update.terms} for update in method.losses(source, target, STEP)]
    alone = [{*update.terms} for update in host.losses(source, target, STEP)]
    assert terms == [*alone, {"distance"}, {"masked"}]
    assert method.terms == (*host.terms, "distance", "mixed", "masked")
    with pytest.raises(ValueError, match="extra must be null"):
        SelfTraining(network, host=method, **PLAIN)


def test_a_stage_that_trains_nothing_has_no_other_losses():
    network = Network(aux=False)
    with pytest.raises(ValueError, match=r"extra must be null: .* trains nothing"):
        SelfTraining(network, host=PseudoLabels(network, **LABELS), **PLAIN)


@pytest.mark.parametrize("method", ["cfcontra", "proca"])
def test_masked_images_join_a_method_of_several_stages(method):
    """In the last, unless one is named; a source model stays what it is."""
    *others, last = planned(f"method={method}", "extra=masked", "output=run").values()
    check_training(last.config)
    assert last.config.extra is not None
    assert [stage.config.extra for stage in others] == [None] * len(others)
    named = planned(f"method={method}", "+stage.source.extra=masked", "output=run")
    assert [name for name, s in named.items() if s.config.extra is not None] == ["source"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mix", "all"),
        ("margins", [0.1, 0.1]),
        ("margins", [0.1, 0.1, 0.0, 1.0]),
        ("mask_ratio", 1.5),
        ("mask_block", 0),
        ("distance_classes", [3]),
        ("threshold", 1.5),
    ],
)
def test_options_are_checked(key, value):
    with pytest.raises(ValueError, match=f"method.{key} must be"):
        Seen(**{key: value})
