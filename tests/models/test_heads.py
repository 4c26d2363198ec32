"""Heads and what they are built with: features, projectors, first values, errors."""

from __future__ import annotations

import pytest
import torch

from uda_hydra.models.aspp_cat import AsppCat, SqueezeExcite
from uda_hydra.models.daformer import mix_transformer
from uda_hydra.models.deeplabv2 import deeplabv2, deeplabv2_vgg16
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat
from uda_hydra.models.deeplabv3plus import deeplabv3plus
from uda_hydra.models.heads import AsppSum
from uda_hydra.models.projectors import PROJECTORS, projector

TINY = {"num_classes": 5, "blocks": (1, 1, 1, 1), "width": 4}
CAT = {**TINY, "branch_channels": 32, "head_channels": 64}


def aspp_cat(**options):
    known = {"branch_channels": 4, "feature_channels": 6, "norm": "batch", "squeeze": False}
    return AsppCat(3, 5, **(known | {"dropout": 0.5} | options))


@pytest.mark.parametrize(
    ("segmenter", "cells", "feature"),
    [
        (deeplabv2_cat(**CAT), (9, 9), 64),
        (deeplabv3plus(**TINY, head_channels=8), (16, 16), 8),
        (mix_transformer(num_classes=5, size="tiny", head_channels=8), (16, 16), 8),
    ],
)
def test_the_head_feature_is_what_the_last_convolution_classifies(segmenter, cells, feature):
    prediction = segmenter.eval()(torch.rand(2, 3, 64, 64))
    assert prediction.head_feature.shape == (2, feature, *cells)
    logits = segmenter.main_head.classifier(prediction.head_feature)
    torch.testing.assert_close(prediction.main, logits, rtol=0, atol=0)


def test_the_multi_level_main_head_reads_the_fourth_stage_then_the_third():
    segmenter = deeplabv2_cat(**CAT, multi_level=True).eval()
    segmenter.keep_stages = True
    prediction = segmenter(torch.rand(1, 3, 33, 33))
    *_, third, fourth = prediction.stages
    joined = segmenter.main_head(torch.cat([fourth, third], dim=1)).logits
    torch.testing.assert_close(prediction.main, joined)
    torch.testing.assert_close(prediction.aux, segmenter.aux_head(third).logits)


def test_stages_are_kept_on_demand_and_the_feature_norm_comes_before_all_readers():
    segmenter = deeplabv2_cat(**CAT, feat_norm=True).eval()
    segmenter.feat_norm.running_mean.fill_(-7.0)
    image = torch.rand(1, 3, 33, 33)
    assert segmenter(image).stages is None
    features = segmenter(image).features
    last = segmenter.backbone(image)[-1]
    torch.testing.assert_close(features, segmenter.feat_norm(last))
    assert not torch.allclose(features, last)


def test_fusion_of_the_concatenating_head_may_be_negative():
    torch.manual_seed(0)
    feature = aspp_cat().eval()(torch.rand(1, 3, 9, 9)).feature
    assert feature.min() < 0 < feature.max()


def test_squeeze_and_excitation_scales_channels():
    torch.manual_seed(0)
    squeeze = SqueezeExcite(32)
    x = torch.rand(2, 32, 3, 5) + 1
    ratio = squeeze(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert 0 < ratio.min() < ratio.max() < 1


def test_deeplabv3plus_refuses_one_image_at_a_time():
    with pytest.raises(ValueError, match=r"trainer\.batch_size=4 with trainer\.accumulate=4"):
        deeplabv3plus(**TINY, batch_size=4, accumulate=4)
    segmenter = deeplabv3plus(**TINY, head_channels=8)
    one = torch.rand(1, 3, 33, 33)
    with pytest.raises(ValueError, match=r"raise trainer\.batch_size"):
        segmenter.train()(one)
    assert segmenter.eval()(one).main.shape == (1, 5, 9, 9)


@pytest.mark.parametrize("name", PROJECTORS)
def test_projectors_work_cell_by_cell(name):
    torch.manual_seed(0)
    head = projector(name, (4, 8, 16, 32)).eval()
    kind = PROJECTORS[name]
    x = torch.randn(2, (4, 8, 16, 32)[kind.stage], 3, 5)
    embedding = head(x)
    assert embedding.shape == (2, kind.out or 32, 3, 5)
    torch.testing.assert_close(embedding[:, :, 1:2, 2:3], head(x[:, :, 1:2, 2:3]))
    if kind.unit:
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2, 3, 5))


def test_a_projector_is_random_unless_it_is_trained():
    frozen = deeplabv2(**TINY, projector="simclr")
    assert frozen(torch.rand(2, 3, 33, 33)).projection.shape == (2, 128, 5, 5)
    assert not any(p.requires_grad for p in frozen.projector.parameters())
    trained = deeplabv2(**TINY, projector="simclr", train_projector=True)
    *_, heads = trained.parameter_groups()
    assert {*trained.projector.parameters()} <= {*heads["params"]}


def test_the_first_values_of_each_release():
    torch.manual_seed(0)

    def spread(module):
        return module.weight.std().item()

    proda = deeplabv2_cat(**CAT)
    assert spread(proda.main_head.branches[1].conv) == pytest.approx(0.01, rel=0.05)
    assert spread(proda.main_head.classifier) == pytest.approx(0.01, rel=0.2)
    assert proda.main_head.fuse.conv.bias.eq(0).all()
    assert proda.main_head.branches[1].conv.bias.ne(0).any()
    vanilla = deeplabv2_cat(**CAT, initialization="default")
    # Torch's own: uniform, of deviation 1 / sqrt(3 fan in).
    conv = vanilla.backbone.layer4[0].conv2
    assert spread(conv) == pytest.approx((3 * 9 * 32) ** -0.5, rel=0.05)
    assert spread(vanilla.main_head.fuse.conv) == pytest.approx((2 / (9 * 160)) ** 0.5, rel=0.05)
    assert spread(vanilla.main_head.classifier) == pytest.approx(0.001, rel=0.2)
    proca = deeplabv2(**TINY, initialization="proca")
    assert spread(proca.backbone.layer4[0].conv2) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    assert spread(proca.main_head.branches[0]) == pytest.approx(0.01, rel=0.05)
    vgg = deeplabv2_vgg16(num_classes=5, width=8)
    assert spread(vgg.backbone.features[28]) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert vgg.backbone.features[28].bias.eq(0).all()
    assert spread(vgg.backbone.fc6) == pytest.approx((3 * 9 * 64) ** -0.5, rel=0.05)
    v3plus = deeplabv3plus(**TINY, head_channels=32)
    refine = v3plus.main_head.refine[0].conv
    assert spread(refine) == pytest.approx((2 / (9 * 80)) ** 0.5, rel=0.05)
    daformer = mix_transformer(num_classes=19, size="tiny", head_channels=64)
    assert spread(daformer.main_head.classifier) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: aspp_cat(norm="layer"), "model.head_norm"),
        (lambda: deeplabv2(**TINY, batch_norm="off"), "model.batch_norm"),
        (lambda: deeplabv2(**TINY, projector="mlp"), "model.projector"),
        (lambda: deeplabv3plus(**TINY, output_stride=32), "model.output_stride"),
        (lambda: mix_transformer(num_classes=5, size="b6"), "model.size"),
        (lambda: mix_transformer(num_classes=5, head="aspp"), "model.head "),
        (lambda: deeplabv2_vgg16(num_classes=5, width=0), "model.width"),
        (lambda: AsppSum(3, 5, active_branches=4, branches=2), "model.branches"),
    ],
)
def test_errors_name_the_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
