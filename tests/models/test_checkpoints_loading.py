"""What a network keeps and gets, how much memory it takes, and what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from uda_hydra.models.checkpoints.layouts import BY_NAME
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.checkpoints.names import rename_back
from uda_hydra.models.checkpoints.parts import HEADS
from uda_hydra.models.checkpoints.reading import read_checkpoint
from uda_hydra.models.deeplabv2 import deeplabv2, deeplabv2_vgg16
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat
from uda_hydra.models.discriminators import FcPix2pix

SMALL = {"num_classes": 3, "blocks": (1, 1, 1, 1), "width": 2}


def filled(network: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {n: t if t.ndim == 0 else torch.randn_like(t) for n, t in network.state_dict().items()}


def official(tensors: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """What of ``tensors`` the layout has a name for."""
    names = rename_back(tensors, BY_NAME[layout])
    return {theirs: tensors[ours] for ours, theirs in names.items() if theirs}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_projector_that_the_file_lacks_stays_and_another_is_loaded(tmp_path):
    network = deeplabv2(**SMALL, projector="moco")
    state = filled(network)
    before = {n: t.clone() for n, t in network.state_dict().items() if n.startswith("projector.")}
    report = load_weights(network, saved(tmp_path / "a.pth", official(state, "advent")))
    assert set(report.missing) == set(before)
    assert all(torch.equal(network.state_dict()[name], t) for name, t in before.items())
    report = load_weights(network, saved(tmp_path / "b.pth", official(state, "cfcontra_moco")))
    assert report.layout == "cfcontra_moco" and not report.missing
    assert all(torch.equal(network.state_dict()[name], t) for name, t in state.items())


def test_simclr_brings_the_norm_of_features_if_it_has_one(tmp_path):
    network = deeplabv2_cat(**SMALL, branch_channels=32, head_channels=32, feat_norm=True)
    state = filled(network)
    weights = official(state, "torchvision_resnet")
    report = load_weights(network, saved(tmp_path / "a.pth", {"state_dict": weights}))
    assert all(name.startswith("main_head.") for name in report.missing)
    assert torch.equal(network.feat_norm.weight, state["feat_norm.weight"])
    for name in [*weights]:
        if name.startswith("bn_pretrain."):
            del weights[name]
    report = load_weights(network, saved(tmp_path / "b.pth", {"state_dict": weights}))
    assert "feat_norm.weight" in report.missing


def test_vgg_begins_with_its_convolutions_alone(tmp_path):
    network = deeplabv2_vgg16(num_classes=3, width=2)
    state = filled(network)
    classifier = {"classifier.0.weight": torch.rand(3, 3), "classifier.0.bias": torch.rand(3)}
    weights = official(state, "vgg16") | classifier
    report = load_weights(network, saved(tmp_path / "a.pth", weights))
    assert {name.split(".")[1] for name in report.loaded} == {"features"}
    assert report.dropped == tuple(classifier)
    assert {f"{name.split('.')[0]}." for name in report.missing} <= {"backbone.", *HEADS}
    assert "backbone.fc6.weight" in report.missing


def test_a_discriminator_is_no_segmenter_but_fills_a_discriminator(tmp_path):
    critic = FcPix2pix(3)
    state = filled(critic)
    path = saved(tmp_path / "model_D_main.pth", official(state, "disc_advent_fc"))
    with pytest.raises(ValueError, match=r"disc_advent_fc: ADVENT's discriminator.*none of its"):
        load_weights(deeplabv2(**SMALL), path)
    load_weights(critic, path)
    assert all(torch.equal(critic.state_dict()[name], t) for name, t in state.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_network_keeps_its_precision_layout_and_what_is_trained(tmp_path, dtype):
    network = deeplabv2(**SMALL).to(memory_format=torch.channels_last)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    state = {n: t.to(dtype) if t.ndim else t for n, t in filled(network).items()}
    load_weights(network, saved(tmp_path / "a.pth", official(state, "advent")))
    weight = network.backbone.conv1.weight
    assert weight.dtype == torch.float32
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(weight, state["backbone.conv1.weight"].float())
    assert frozen == [name for name, p in network.named_parameters() if not p.requires_grad]


def test_the_report_names_what_was_not_looked_at_and_the_container(tmp_path):
    network = deeplabv2(**SMALL, multi_level=False)
    content = {"state_dict": official(filled(deeplabv2(**SMALL)), "advent"), "best_MIou": 0.5}
    report = load_weights(network, saved(tmp_path / "best.pth", content))
    text = str(report)
    assert "best.pth: maxsquare (MaxSquare or Adversarial-DA-Exp)" in text
    assert "dropped from the file: aux_head.branches.0.weight" in text
    assert "ignored keys: best_MIou" in text


def two_or_four(file_branches: int, active: int, tmp_path, layout: str) -> tuple[str, ...]:
    """Warnings for a file whose first ``file_branches`` branches were trained."""
    options = SMALL | {"width": 32}
    network = deeplabv2(**options, active_branches=active)
    state = network.state_dict()
    for name, tensor in state.items():
        trained = ".branches." in name and int(name.split(".")[2]) < file_branches
        state[name] = tensor + 0.05 * torch.randn(tensor.shape) if trained else tensor.clone()
    return load_weights(network, saved(tmp_path / "a.pth", official(state, layout))).warnings


@pytest.mark.parametrize("layout", ["advent", "uda_hydra"])
def test_branches_that_were_never_trained_and_are_summed_are_told(tmp_path, layout):
    warnings = two_or_four(2, 4, tmp_path, layout)
    assert len(warnings) == 2
    assert "set model.active_branches=2" in warnings[0] and "main_head" in warnings[0]


def test_branches_that_were_trained_and_are_not_summed_are_told(tmp_path):
    warnings = two_or_four(4, 2, tmp_path, "advent")
    assert len(warnings) == 2 and "set model.active_branches=4" in warnings[0]


@pytest.mark.parametrize("branches", [2, 4])
def test_the_right_number_of_branches_gives_no_warning(tmp_path, branches):
    assert two_or_four(branches, branches, tmp_path, "advent") == ()


def anonymous_memory() -> int:
    """Bytes of this process that are not backed by a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def test_a_file_is_mapped_so_that_no_second_copy_of_its_weights_is_made(tmp_path):
    network = deeplabv2(num_classes=19, blocks=(1, 1, 1, 1), width=160)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    path = saved(tmp_path / "a.pth", official(network.state_dict(), "advent"))
    read_checkpoint(path)  # the first call also loads code
    before = anonymous_memory()
    checkpoint = read_checkpoint(path)
    assert sum(tensor.count_nonzero() for tensor in checkpoint.tensors.values()) > size / 8
    assert anonymous_memory() - before < size / 2
