"""Files of every known layout fill the network; every other file ends in one clear error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.segmenter import Segmenter


def tiny(**options: object) -> Segmenter:
    return deeplabv2(**({"num_classes": 3, "blocks": (1, 1, 1, 1), "width": 2} | options))


def filled(**options: object) -> dict[str, Tensor]:
    """Weights that no constructor gives."""
    torch.manual_seed(1)
    state = tiny(**options).state_dict()
    return {n: t + 1 if t.ndim == 0 else torch.randn_like(t) for n, t in state.items()}


def trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone under torchvision's names."""
    return {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}


def official(state: dict[str, Tensor], aux: str, main: str) -> dict[str, Tensor]:
    """A flat snapshot with the official names of the heads."""
    heads = {"aux_head.branches": f"{aux}.conv2d_list", "main_head.branches": f"{main}.conv2d_list"}
    renamed = trunk(state)
    for name, tensor in state.items():
        head = ".".join(name.split(".")[:2])
        if head in heads:
            renamed[name.replace(head, heads[head])] = tensor
    return renamed


def assert_equal(segmenter: Segmenter, expected: dict[str, Tensor]) -> None:
    state = segmenter.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if "_head." in name}


@pytest.mark.parametrize("legacy", [False, True])
def test_caffe_style_initialisation(tmp_path, legacy):
    state = filled()
    voc = {f"layer5.conv2d_list.{i}.weight": torch.rand(21, 64, 3, 3) for i in range(4)}
    voc |= {f"layer5.conv2d_list.{i}.bias": torch.rand(21) for i in range(4)}
    file = {f"Scale.{n}": t for n, t in (without_counters(trunk(state)) | voc).items()}
    path = tmp_path / "init.pth"
    torch.save(file, path, _use_new_zipfile_serialization=not legacy)
    segmenter = tiny()
    before = {name: tensor.clone() for name, tensor in heads(segmenter.state_dict()).items()}
    segmenter.backbone.bn1.num_batches_tracked.fill_(7)
    report = load_weights(segmenter, path)
    body = {n: t for n, t in without_counters(state).items() if n.startswith("backbone.")}
    assert_equal(segmenter, body | before)
    assert segmenter.backbone.bn1.num_batches_tracked == 0
    assert report.layout == "pretrained_init"
    assert set(report.loaded) == set(body) and len(report.dropped) == 8
    assert set(report.missing) == set(before)


def test_torchvision_initialisation(tmp_path):
    state = filled()
    path = tmp_path / "resnet.pth"
    classifier = {"fc.weight": torch.rand(1000, 64), "fc.bias": torch.rand(1000)}
    torch.save(trunk(state) | classifier, path)
    segmenter = tiny()
    report = load_weights(segmenter, path)
    assert_equal(segmenter, {n: t for n, t in state.items() if n.startswith("backbone.")})
    assert report.dropped == ("fc.weight", "fc.bias")
    text = str(report)
    assert "resnet.pth: torchvision_resnet (torchvision's ResNet or SimCLR)" in text
    assert f"{len(trunk(state))} tensors loaded" in text
    assert "dropped from the file: fc.weight, fc.bias" in text
    assert "kept as initialised: main_head" in text


@pytest.mark.parametrize(
    ("multi_level", "aux", "main"),
    [(True, "layer5", "layer6"), (False, "-", "layer5"), (False, "-", "layer6")],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_snapshots(tmp_path, multi_level, aux, main, prefix):
    state = filled(multi_level=multi_level)
    path = tmp_path / "snapshot.pth"
    torch.save({f"{prefix}{n}": t for n, t in official(state, aux, main).items()}, path)
    segmenter = tiny(multi_level=multi_level)
    report = load_weights(segmenter, path)
    assert_equal(segmenter, state)
    assert not report.dropped and not report.missing


def test_our_checkpoint_gives_the_segmenter_and_not_the_teacher(tmp_path):
    state = filled()
    method = {f"segmenter.{n}": t for n, t in state.items()}
    method |= {f"teacher.network.{n}": torch.zeros_like(t) for n, t in state.items()}
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "step": 3, "method": method, "optimizers": {}}, path)
    segmenter = tiny()
    report = load_weights(segmenter, path)
    assert_equal(segmenter, state)
    assert report.layout == "uda_hydra" and not report.missing


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_numpy_number_beside_the_weights(tmp_path, module):
    state = filled()
    content = {"state_dict": official(state, "layer5", "layer6"), "best_MIou": np.float64(0.5)}
    path = tmp_path / "best.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    # The module's name before and since numpy 2.
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"c" + module + b"\n"))
    assert module in path.read_bytes()
    segmenter = tiny()
    load_weights(segmenter, path)
    assert_equal(segmenter, state)


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth: cannot be read"):
        load_weights(tiny(), path)


def saved(tmp_path, content: object) -> str:
    torch.save(content, tmp_path / "file.pth")
    return str(tmp_path / "file.pth")


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match=r"init=nowhere\.pth: no such file"):
        load_weights(tiny(), "nowhere.pth")
    with pytest.raises(ValueError, match=r"file\.pth: holds no tensors"):
        load_weights(tiny(), saved(tmp_path, {"epoch": 3}))
    mobile = {f"features.{i}.weight": torch.rand(2, 2) for i in range(4)}
    with pytest.raises(ValueError, match=r"unknown layout, with names like features\.0\.weight"):
        load_weights(tiny(), saved(tmp_path, mobile | {"classifier": torch.rand(2)}))


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_files_end_in_one_error(tmp_path, legacy):
    path = tmp_path / "file.pth"
    torch.save(filled(), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in (*range(0, 400, 7), *range(400, len(whole), len(whole) // 50)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"file\.pth: cannot be read"):
            load_weights(tiny(), path)


def test_nearest_layout_is_named(tmp_path):
    state = official(filled(), "layer5", "layer6")
    without_stem = {n: t for n, t in state.items() if not n.startswith("conv1.")}
    with pytest.raises(ValueError, match=r"nearest is advent \(ADVENT.*no name starts with conv1"):
        load_weights(tiny(), saved(tmp_path, without_stem))


def test_class_count_width_depth_and_missing_head(tmp_path):
    path = saved(tmp_path, filled())
    with pytest.raises(ValueError, match=r"file\.pth.*heads have 3 classes and the model has 4"):
        load_weights(tiny(num_classes=4), path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(
        ValueError, match=r"shape \(2, .*needs \(4, .*the model this .*config\.yaml names"
    ):
        load_weights(tiny(width=4), path)
    with pytest.raises(ValueError, match=r"lacks 15 tensors, backbone\.layer1\.1\.conv1\.weight"):
        load_weights(tiny(blocks=(2, 1, 1, 1)), path)
    path = saved(tmp_path, official(filled(multi_level=False), "-", "layer6"))
    with pytest.raises(ValueError, match=r"lacks 8 tensors.*set model\.multi_level=false"):
        load_weights(tiny(), path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda t: t.bool(), r"file\.pth.*backbone\.conv1\.weight is of type bool"),
        (lambda t: t * torch.nan, r"file\.pth.*backbone\.conv1\.weight holds numbers that are no"),
    ],
)
def test_what_are_no_weights_is_refused(tmp_path, changed, message):
    state = filled()
    state["backbone.conv1.weight"] = changed(state["backbone.conv1.weight"])
    with pytest.raises(ValueError, match=message):
        load_weights(tiny(), saved(tmp_path, state))


def test_a_file_without_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(ValueError, match=r"empty\.safetensors: holds no tensors"):
        load_weights(tiny(), tmp_path / "empty.safetensors")


def test_a_head_is_not_loaded_without_what_it_was_trained_on(tmp_path):
    """It would be another network, and give other scores, without a word."""
    with pytest.raises(ValueError, match=r"trained with backbone\.layer1\.1\.conv1\.weig.*more"):
        load_weights(tiny(), saved(tmp_path, filled(blocks=(2, 1, 1, 1))))
    whole = filled()
    norm = {"feat_norm.weight": torch.ones(16), "feat_norm.bias": torch.zeros(16)}
    with pytest.raises(ValueError, match=r"feat_norm\.weight.*set model\.feat_norm=true"):
        load_weights(tiny(), saved(tmp_path, whole | norm))
    # An initialisation may have more than is wanted of it.
    backbone = {name: t for name, t in whole.items() if name.startswith("backbone.")}
    initial = {name.removeprefix("backbone."): t for name, t in backbone.items()}
    initial |= {"layer1.1.conv1.weight": torch.zeros(2), "fc.weight": torch.zeros(2)}
    path = saved(tmp_path, initial)
    assert load_weights(tiny(), path).dropped
    with pytest.raises(ValueError, match=r"file\.pth \(torchvision_resnet.*holds no trained head"):
        load_weights(tiny(), path, whole=True)


def test_a_training_of_21_classes_is_not_taken_for_an_initialisation(tmp_path):
    """DeepLab's initialisation has a head of as many, but comes from before the counters."""
    state = official(filled(num_classes=21, multi_level=False), "-", "layer5")
    one_head = {"num_classes": 21, "multi_level": False}
    report = load_weights(tiny(**one_head), saved(tmp_path, state), whole=True)
    assert report.layout == "adaptseg_single"
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert load_weights(tiny(**one_head), saved(tmp_path, old)).layout == "pretrained_init"


def test_names_in_a_file_cannot_command_a_terminal(tmp_path):
    path = tmp_path / "a\x1b[31m.pth"
    torch.save(filled() | {"unused.\x1b[31m": torch.zeros(1)}, path)
    said = str(load_weights(tiny(), path))
    assert "unused." in said
    assert "\x1b" not in said


def test_a_failed_load_changes_nothing(tmp_path):
    state = filled()
    path = saved(tmp_path, state)
    segmenter = tiny(num_classes=4)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    with pytest.raises(ValueError, match="4"):
        load_weights(segmenter, path)
    assert_equal(segmenter, before)
