"""``task=convert`` through the real config: ours to official, official to ours."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tests.conftest import composed
from uda_hydra import tasks
from uda_hydra.errors import UserError
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat

SMALL = {"num_classes": 3, "blocks": (1, 1, 1, 1), "width": 2}


def convert(init: object, output: object, *overrides: str) -> None:
    config = composed("task=convert", f"init={init}", f"output={output}", *overrides)
    tasks.run(config, [])


@pytest.fixture
def trained(tmp_path):
    """A ``last.pt`` of ours, and the weights in it."""
    torch.manual_seed(1)
    state = {n: torch.rand_like(t) if t.ndim else t for n, t in network().state_dict().items()}
    method = {f"segmenter.{name}": tensor for name, tensor in state.items()}
    torch.save({"format": 1, "step": 3, "method": method}, tmp_path / "last.pt")
    return tmp_path / "last.pt", state


def network():
    return deeplabv2(**SMALL)


def assert_loads(path, state: dict[str, Tensor]) -> None:
    """``init=path`` gives the network exactly ``state``."""
    found = network()
    report = load_weights(found, path)
    assert not report.missing
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in state.items())


def test_a_run_of_ours_becomes_official_and_comes_back(tmp_path, trained, capsys):
    path, state = trained
    there, back = tmp_path / "new" / "model.pth", tmp_path / "back.safetensors"
    convert(path, there, "layout=advent")
    assert "model.pth: advent, flat, " in capsys.readouterr().out
    content = torch.load(there, weights_only=True)
    # The official code reads it strictly, so nothing may be missing or new; aux comes first there.
    heads = [name for name in content if name.startswith("layer5") or name.startswith("layer6")]
    assert [*content][-16:] == heads and heads[0] == "layer5.conv2d_list.0.weight"
    assert torch.equal(content["layer6.conv2d_list.3.bias"], state["main_head.branches.3.bias"])
    assert_loads(there, state)
    convert(there, back)
    assert "back.safetensors: uda_hydra, safetensors" in capsys.readouterr().out
    assert_loads(back, state)
    with safe_open(back, "pt") as file:
        assert {*file.keys()} == set(state)
    assert back.stat().st_mode == there.stat().st_mode


def test_a_file_may_become_another_under_its_own_name(tmp_path, trained):
    path, state = trained
    same = tmp_path / "model.pth"
    convert(path, same, "layout=maxsquare")
    convert(same, same, "layout=advent")
    assert_loads(same, state)


def test_official_containers_and_flat_files(tmp_path, trained):
    path, state = trained
    convert(path, tmp_path / "a.pth", "layout=maxsquare")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert [*content] == ["epoch", "iteration", "state_dict", "best_MIou"]
    assert all(name.startswith("module.") for name in content["state_dict"])
    assert_loads(tmp_path / "a.pth", state)
    convert(path, tmp_path / "b.pth", "layout=maxsquare/flat")
    content = torch.load(tmp_path / "b.pth", weights_only=True)
    assert next(iter(content)) == "conv1.weight" and len(content) == len(state)


def test_proda_gets_its_nested_dictionary_with_prototypes(tmp_path):
    model = deeplabv2_cat(**SMALL, branch_channels=32, head_channels=64, feat_norm=True)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    convert(tmp_path / "state.pt", tmp_path / "best.pkl", "layout=proda")
    content = torch.load(tmp_path / "best.pkl", weights_only=True)
    assert content["ResNet101"]["objective_vectors"].shape == (3, 64)
    assert [*content["ResNet101"]["model_state"]][-1] == "bn_pretrain.num_batches_tracked"
    assert content["iter"] == 0 and content["best_iou"] == 0.0


def test_what_only_the_official_code_uses_is_kept_for_the_way_back(tmp_path):
    body = deeplabv2(**SMALL).backbone.state_dict()
    classifier = {"fc.weight": torch.rand(5, 64), "fc.bias": torch.rand(5)}
    torch.save(body | classifier, tmp_path / "resnet.pth")
    convert(tmp_path / "resnet.pth", tmp_path / "ours.safetensors")
    report = load_weights(network(), tmp_path / "ours.safetensors")
    assert report.dropped == ("unused.fc.weight", "unused.fc.bias")
    assert all("_head." in name for name in report.missing)
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pth", "layout=torchvision_resnet")
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    assert [*content] == [*body, *classifier]
    assert torch.equal(content["fc.weight"], classifier["fc.weight"])


@pytest.mark.parametrize(
    ("output", "overrides", "message"),
    [
        ("a.pth", ["layout=advnet"], "layout=advnet is not an official layout"),
        ("a.pth", ["layout=advent/nested"], "layout=advent/nested is not an official layout"),
        ("a.pth", ["layout=uda_hydra"], "layout=uda_hydra is not an official layout"),
        ("a.pth", [], r"output=.*a\.pth does not go with layout=None"),
        ("a.safetensors", ["layout=advent"], "does not go with layout=advent"),
        ("a.pth", ["layout=proda"], r"has no name for.*layouts that fit .* are: advent, adapt"),
        ("a.pth", ["layout=cfcontra_moco"], r"\(CFContra.*needs head\.0\., head\.2\.; layouts"),
        ("a.pth", ["layout=adaptseg_single"], r"has no name for aux_head\.branches\.0\.weight"),
        ("a.pth", ["layout=advent", "init=nowhere.pth"], r"init=nowhere\.pth: there is no such"),
        ("a.pth", ["layout=advent", "init=null"], "needs init=FILE"),
        ("a.pth", ["layout=advent", "output=null"], "needs output=FILE"),
        (".", ["layout=advent"], "is a folder"),
    ],
)
def test_what_cannot_be_converted_ends_in_one_message(
    tmp_path, trained, output, overrides, message
):
    with pytest.raises(UserError, match=message):
        convert(trained[0], tmp_path / output, *overrides)
    assert [*tmp_path.iterdir()] == [trained[0]]


def test_the_folder_of_a_training_takes_no_conversion(tmp_path, trained):
    whole = trained[0].read_bytes()
    (tmp_path / "identity.json").write_text("{}")
    with pytest.raises(UserError, match=r"stage of a training; this is conversion"):
        convert(trained[0], trained[0], "layout=advent")
    assert trained[0].read_bytes() == whole
