"""Every layout is recognised by its names, and every structure around it is opened."""

from __future__ import annotations

import os
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from uda_hydra.models.checkpoints.containers import CONTAINERS, unwrap
from uda_hydra.models.checkpoints.export import official, ours, write_official, write_ours
from uda_hydra.models.checkpoints.layouts import BY_NAME, LAYOUTS, OURS
from uda_hydra.models.checkpoints.names import order, rename
from uda_hydra.models.checkpoints.reading import Checkpoint, read_checkpoint
from uda_hydra.models.checkpoints.recognition import identify
from uda_hydra.models.checkpoints.weight_layout import WeightLayout

OFFICIAL = [layout for layout in LAYOUTS if layout is not OURS]
DICTIONARIES = [layout for layout in OFFICIAL if layout.container != "cfcontra_centres"]
"""What torch writes; the two arrays go there and back in tests/methods/test_cfcontra.py."""
SEGMENTERS = [layout for layout in OFFICIAL if "main_head." in str(layout.pairs)]


def sample(layout: WeightLayout) -> dict[str, Tensor]:
    """Small tensors under the names of a layout, in its order."""
    names = []
    for theirs, _ in layout.pairs:
        filled = dict.fromkeys(theirs.format(n=n, m=m) for n in (1, 2) for m in (0, 1))
        names += [name + "weight" if name.endswith(".") else name for name in filled]
    if layout.mark:
        names.append(layout.mark.name)
    names = order(dict.fromkeys(names), layout)
    tensors = {name: torch.full((2, 3, 1, 1), float(i)) for i, name in enumerate(names)}
    if layout.mark:
        shape = [2, 2, 2, 2]
        shape[layout.mark.dimension] = layout.mark.size
        tensors[layout.mark.name] = torch.rand(shape)
    return tensors


def read(tmp_path, content: object, **options: object) -> Checkpoint:
    # Tensors are read from their file when they are used: it must not be written over.
    path = tmp_path / f"file{len([*tmp_path.iterdir()])}.pth"
    torch.save(content, path, **options)
    return read_checkpoint(path)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names in the same order, and the same values."""
    assert [*found] == [*expected]
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("layout", OFFICIAL, ids=lambda layout: layout.name)
def test_a_layout_is_recognised_by_its_own_names(layout):
    tensors = sample(layout)
    found = identify(tensors, "file")
    # Layouts with the same names are one for the reader.
    assert found.layout.pairs == layout.pairs
    assert found.tensors is tensors


@pytest.mark.parametrize("layout", DICTIONARIES, ids=lambda layout: layout.name)
def test_official_to_ours_and_back_through_files_is_the_identity(tmp_path, layout):
    tensors = sample(layout)
    first, second, third = (tmp_path / name for name in ("a.pth", "b.safetensors", "c.pth"))
    write_official(first, tensors, layout)
    write_ours(second, ours(read_checkpoint(first)))
    write_official(third, official(read_checkpoint(second), layout), layout)
    before, after = (torch.load(path, weights_only=True) for path in (first, third))
    assert [*after] == [*before]
    assert_same(unwrap(after, "c").tensors, tensors)


@pytest.mark.parametrize("layout", SEGMENTERS, ids=lambda layout: layout.name)
def test_parts_are_written_in_the_official_order_whatever_the_order_of_ours(layout):
    tensors = sample(layout)
    parts = {n: ".".join((o or "").split(".")[:2]) for n, o in rename(tensors, layout).items()}
    backwards = [*dict.fromkeys(parts.values())][::-1]
    ours_first = sorted(tensors, key=lambda name: backwards.index(parts[name]))
    assert ours_first != [*tensors]
    assert order(ours_first, layout) == [*tensors]


def test_the_container_decides_between_layouts_of_the_same_names(tmp_path):
    tensors = sample(BY_NAME["advent"])
    assert read(tmp_path, tensors).layout.name == "advent"
    wrapped = read(tmp_path, {"state_dict": tensors, "epoch": 3})
    assert (wrapped.layout.name, wrapped.container) == ("maxsquare", "maxsquare")
    assert wrapped.ignored_keys == ("epoch",)
    assert [*wrapped.tensors][-1].startswith("main_head.branches.")


@pytest.mark.parametrize("prefix", ["module.", "Scale.", "model.", "module.model.", "a.b."])
def test_what_all_names_begin_with_goes(tmp_path, prefix):
    tensors = sample(BY_NAME["proda"])
    found = read(tmp_path, {f"{prefix}{name}": t for name, t in tensors.items()})
    assert found.layout.name == "proda"
    assert_same(found.tensors, read(tmp_path, tensors).tensors)


def test_some_names_may_begin_with_module(tmp_path):
    tensors = sample(BY_NAME["cacovan_advent_projector"])
    mixed = {(f"module.{n}" if i % 2 else n): t for i, (n, t) in enumerate(tensors.items())}
    assert_same(read(tmp_path, mixed).tensors, read(tmp_path, tensors).tensors)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_split_files_are_joined(tmp_path, prefix):
    tensors = sample(BY_NAME["proca"])
    parts = {
        part: {
            prefix + name.removeprefix(f"{part}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(part)
        }
        for part in ("feature_extractor", "classifier")
    }
    empty = {"state": {}, "param_groups": []}
    found = read(tmp_path, {"iteration": 3, **parts, "optimizer_fea": empty})
    assert (found.layout.name, found.ignored_keys) == ("proca", ("iteration", "optimizer_fea"))
    assert_same(found.tensors, read(tmp_path, tensors).tensors)


def test_the_student_is_taken_and_not_its_averages(tmp_path):
    tensors = sample(BY_NAME["daformer"])
    copies = {
        f"{copy}.{name}": tensor + offset
        for offset, copy in enumerate(("ema_model", "model", "imnet_model"))
        for name, tensor in tensors.items()
    }
    meta = {"CLASSES": ("road", "sky"), "PALETTE": [[1, 2, 3]]}
    found = read(tmp_path, {"meta": meta, "state_dict": copies, "optimizer": {}})
    assert found.layout.name == "daformer" and found.ignored_keys == ("meta", "optimizer")
    expected = read(tmp_path, {name: tensor + 1 for name, tensor in tensors.items()})
    assert_same(found.tensors, expected.tensors)


@pytest.mark.parametrize("legacy", [False, True])
def test_nested_pickle_with_a_numpy_number(tmp_path, legacy):
    tensors = sample(BY_NAME["proda"])
    content = {
        "ResNet101": {"model_state": tensors, "objective_vectors": torch.zeros(2, 3)},
        "FCDiscriminator": {"model_state": sample(BY_NAME["disc_proda_fc"])},
        "iter": 7,
        "best_iou": np.float64(0.5),
    }
    found = read(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    assert found.layout.name == "proda"
    assert found.ignored_keys == ("FCDiscriminator", "iter", "best_iou")
    assert_same(found.tensors, read(tmp_path, tensors).tensors)


class PythonTwo(pickle._Pickler):
    """Writes text as Python 2 wrote its ``str``, which files from before torch 1 hold."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        data = text.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(text)

    dispatch[str] = save_str


def test_files_of_python_2(tmp_path):
    tensors = sample(BY_NAME["advent"])

    class Module:
        Pickler, HIGHEST_PROTOCOL = PythonTwo, 2
        dump = staticmethod(lambda value, file, protocol=2: PythonTwo(file, protocol).dump(value))

    path = tmp_path / "old.pth"
    with path.open("wb") as file:
        torch.save(tensors, file, pickle_module=Module, _use_new_zipfile_serialization=False)
    assert b"U\x0cconv1.weight" in path.read_bytes()
    assert_same(read_checkpoint(path).tensors, read(tmp_path, tensors).tensors)


class Run:
    """Unpickled carelessly, this runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return (os.system, (self.command,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        lambda tensors, evil: evil,
        lambda tensors, evil: tensors | {"conv1.weight": evil},
        lambda tensors, evil: {"state_dict": tensors, "best_MIou": evil},
        lambda tensors, evil: {"ResNet101": {"model_state": tensors, "objective_vectors": [evil]}},
    ],
)
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, place, legacy):
    marker = tmp_path / "has_run"
    content = place(sample(BY_NAME["advent"]), Run(f"touch {marker}"))
    with pytest.raises(ValueError, match=r"init=.*file0\.pth: cannot be read as weights"):
        read(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    assert not marker.exists()
    with (tmp_path / "file0.pth").open("rb") as file:  # the test's own payload is a real one
        torch.load(file, weights_only=False)
    assert marker.exists()


def test_numpy_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as weights"):
        read(tmp_path, sample(BY_NAME["advent"]) | {"names": np.array(["a", None], object)})


def test_safetensors_of_others_are_recognised_and_broken_ones_refused(tmp_path):
    tensors = sample(BY_NAME["advent"])
    path = tmp_path / "file.safetensors"
    save_file(tensors, path)
    found = read_checkpoint(path)
    assert found.layout.name == "advent"
    expected = read(tmp_path, tensors).tensors
    assert_same(dict(sorted(found.tensors.items())), dict(sorted(expected.items())))
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"file\.safetensors: cannot be read as weights"):
            read_checkpoint(path)


@pytest.mark.parametrize("name", ["advent", "proda", "proca", "daformer", "ybao_v3plus"])
def test_a_foreign_head_is_an_unknown_layout_that_names_the_nearest(name):
    tensors = sample(BY_NAME[name])
    ours_by_name = rename(tensors, BY_NAME[name])
    foreign = {
        (n if ours_by_name[n].startswith("backbone.") else f"decoder_x.{i}.weight"): tensor
        for i, (n, tensor) in enumerate(tensors.items())
    }
    with pytest.raises(ValueError, match=r"init=x\.pth: unknown layout.*The nearest is \w+ \("):
        identify(foreign, "x.pth")


def test_names_beyond_the_layout_are_tolerated_if_they_are_few(tmp_path):
    tensors = {f"layer1.0.{i}": torch.rand(1) for i in range(40)} | sample(BY_NAME["advent"])
    found = read(tmp_path, tensors | {"extra.weight": torch.rand(2)})
    assert found.layout.name == "advent" and [*found.unused] == ["extra.weight"]


def test_every_container_of_a_layout_is_one_that_is_read():
    assert {layout.container for layout in LAYOUTS} <= {container.name for container in CONTAINERS}
    assert len(BY_NAME) == len(LAYOUTS)
