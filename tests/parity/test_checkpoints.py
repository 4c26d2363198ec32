"""Files in the official structures, made from the references' recipes, fill our real networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.fill import fill_tensor
from tests.parity.official_networks import NETWORKS, on_meta, split_name
from tests.parity.official_networks import manifest as read_manifest
from uda_hydra.models.checkpoints.export import official, ours, write_official, write_ours
from uda_hydra.models.checkpoints.layouts import BY_NAME
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.checkpoints.names import rename
from uda_hydra.models.checkpoints.reading import Checkpoint, read_checkpoint
from uda_hydra.models.checkpoints.recognition import identify
from uda_hydra.models.segmenter import Segmenter

Weights = dict[str, Tensor]


manifest = cache(read_manifest)


@cache
def layouts() -> dict[str, str]:
    """WeightLayout of every manifest, those included that the reference does not rename."""
    apart = ("proca_projhead_convmlp", "proca_projhead_linear", "cfcontra_decoder")
    return manifest("renaming")["layout_of_manifest"] | {name: name for name in apart}


def renamed(layout: str, key: str) -> str | None:
    """Our name of an official entry, by the reference's rules; None for what it drops."""
    rules = manifest("renaming")["rules"][layout]
    pattern, replacement = next(rule for rule in rules if re.match(rule[0], key))
    return None if replacement is None else re.sub(pattern, replacement, key)


@pytest.fixture
def salt(reference) -> int:
    return reference("networks")["full_advent_r101_19"].args["salt"]


def shapes(name: str) -> Weights:
    return {key: torch.empty(shape, device="meta") for key, shape in manifest(name)}


def weights(name: str, salt: int) -> Weights:
    """A manifest's state dict with the references' values."""
    return {key: fill_tensor(key, tuple(shape), salt) for key, shape in manifest(name)}


def opened(tensors: Weights) -> Checkpoint:
    """A flat file with ``tensors``, as the reader sees it."""
    layout, tensors = identify(tensors, "file")
    names = rename(tensors, layout)
    known = {names[n]: t for n, t in tensors.items() if names[n]}
    unused = {n: t for n, t in tensors.items() if not names[n]}
    return Checkpoint("file", layout, "flat", known, unused, ())


def test_every_manifest_is_recognised_and_renamed_as_the_reference_does():
    for name, layout in manifest("renaming")["layout_of_manifest"].items():
        tensors = shapes(name)
        expected = {key: renamed(layout, key) for key in tensors}
        assert rename(tensors, BY_NAME[layout]) == expected, name
        found = identify(tensors, name)
        # What has the names of several layouts is read by the first of them.
        assert found.layout.pairs == BY_NAME[layout].pairs
        assert found.layout.mark == BY_NAME[layout].mark


def test_official_to_ours_to_official_is_the_identity_on_every_manifest():
    for name, layout in layouts().items():
        tensors = shapes(name)
        there = opened(tensors)
        flat = {key: t for key, t in ours(there).items() if not key.startswith("unused.")}
        assert len(flat) + len(there.unused) == len(tensors)
        back = official(there, BY_NAME[layout])
        assert [*back] == [*tensors], name
        assert all(back[key] is tensor for key, tensor in tensors.items())


def test_what_our_networks_save_is_written_in_the_official_order():
    known = {name for name, layout in layouts().items() if split_key(name) in NETWORKS}
    assert len(known) > 25
    for name in known:
        tensors = shapes(name)
        there = opened(tensors)
        order = on_meta(*split_name(name)).state_dict()
        assert {key: tensor.shape for key, tensor in order.items()} == {
            key: tensor.shape for key, tensor in there.tensors.items()
        }, name
        there = there._replace(tensors={key: there.tensors[key] for key in order})
        assert [*official(there, BY_NAME[layouts()[name]])] == [*tensors], name


def split_key(name: str) -> str | None:
    return split_name(name)[0] if name.rsplit("_", 1)[1].isdigit() else None


def round_trip(tmp_path, name: str, tensors: Weights) -> None:
    """Through a file of each kind, with equal bytes at the end."""
    layout = BY_NAME[layouts()[name]]
    first, second, third = (tmp_path / file for file in ("a.pth", "b.safetensors", "c.pth"))
    torch.save(tensors, first)
    write_ours(second, ours(read_checkpoint(first)))
    flat = layout._replace(container="flat")
    write_official(third, official(read_checkpoint(second), layout), flat)
    back = torch.load(third, weights_only=True)
    assert [*back] == [*tensors]
    for key, tensor in tensors.items():
        assert back[key].shape == tensor.shape and back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor), key


SMALL = ("disc_proda_low_19", "disc_proca_pixel_19", "disc_cacovan_ms_19", "cfcontra_decoder")


@pytest.mark.parametrize("name", SMALL)
def test_small_manifests_come_back_through_files(tmp_path, salt, name):
    round_trip(tmp_path, name, weights(name, salt))


@pytest.mark.slow
def test_a_network_of_full_size_comes_back_through_files(tmp_path, salt):
    round_trip(tmp_path, "daformer_mitb5_19", weights("daformer_mitb5_19", salt))


def any_numbers(*shape: int) -> Tensor:
    """Numbers without meaning, the same in every run."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def chosen(recipe: dict, tensors: Weights) -> Weights:
    """What the recipe keeps, drops, replaces and adds."""
    kept = {k: t for k, t in tensors.items() if re.search(recipe.get("keep_keys", ""), k)}
    if "drop_keys" in recipe:
        kept = {k: t for k, t in kept.items() if not re.search(recipe["drop_keys"], k)}
    if "replace" in recipe:
        # The classifier of PASCAL VOC in place of that of Cityscapes.
        voc = {k: any_numbers(21, *t.shape[1:]) for k, t in kept.items() if k.startswith("layer5.")}
        kept |= voc
    added = {k: any_numbers(*shape) for k, shape in recipe.get("add", {}).items()}
    return {f"{recipe.get('prefix', '')}{k}": t for k, t in (kept | added).items()}


EMPTY = {"state": {}, "param_groups": []}


def proda(tensors: Weights) -> object:
    prototypes = any_numbers(*tensors["layer5.head.1.weight"].shape[:2])
    inner = {"model_state": tensors, "objective_vectors": prototypes}
    return {"ResNet101": inner, "iter": 7, "best_iou": np.float64(0.5)}


def proda_warmup(tensors: Weights) -> object:
    critic = {"model_state": shapeless("disc_proda_fc_19"), "objective_vectors": torch.zeros(2)}
    return proda(tensors) | {"FCDiscriminator": critic}


def shapeless(name: str) -> Weights:
    return {key: torch.zeros(1) for key, _ in manifest(name)}


def proca(tensors: Weights, prefix: str = "") -> object:
    parts = {
        part: {
            prefix + key.removeprefix(f"{part}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{part}.")
        }
        for part in ("feature_extractor", "classifier")
    }
    return {"iteration": 7, **parts, "optimizer_fea": EMPTY, "optimizer_cls": EMPTY}


def maxsquare(tensors: Weights) -> object:
    state = {"epoch": 1, "iteration": 7, "state_dict": tensors, "optimizer": EMPTY}
    return state | {"best_MIou": np.float64(0.5)}


def daformer(tensors: Weights) -> object:
    copies = {f"model.{key}": tensor for key, tensor in tensors.items()}
    for other in ("ema_model", "imnet_model"):
        copies |= {f"{other}.{key}": torch.zeros(1) for key in tensors}
    meta = {"CLASSES": tuple(f"class {i}" for i in range(19)), "PALETTE": [[1, 2, 3]]}
    return {"meta": meta, "state_dict": copies, "optimizer": {}}


def flat(tensors: Weights) -> object:
    return tensors


def without_counters(tensors: Weights) -> object:
    return {k: t for k, t in tensors.items() if not k.endswith("num_batches_tracked")}


# Recipe, structure, manifests of the networks to load into (default: where the weights are from).
FILES: list[tuple[str, Callable[[Weights], object], str | None]] = [
    ("deeplab_init_scale_prefix", flat, None),
    ("torchvision_resnet101", flat, None),
    ("simclr", lambda t: {"state_dict": t}, None),
    ("adaptsegnet_snapshot", flat, None),
    ("adaptsegnet_snapshot", without_counters, None),
    ("adaptsegnet_vgg", flat, None),
    ("advent_snapshot", flat, None),
    ("cfcontra_snapshot", flat, None),
    ("cacovan_multi_gpu", flat, None),
    ("proda_best", proda, None),
    ("proda_best", proda, "proda_r101_bnclr_19"),
    ("proda_best", proda, "proda_r101_bnclr_16"),
    ("proda_warmup", proda_warmup, "proda_r101_19"),
    ("proca", proca, None),
    ("proca", lambda tensors: proca(tensors, "module."), None),
    ("maxsquare", maxsquare, None),
    ("maxsquare", flat, None),
    ("ybao_v3plus", maxsquare, None),
    ("daformer", daformer, None),
]
NARROW = 4
"""Width of the stem where 64 are official: the same names, smaller tensors."""


def network_of(name: str, narrow: bool) -> Segmenter:
    key, num_classes = split_name(name)
    network = on_meta(key, num_classes, **({"width": NARROW} if narrow else {}))
    network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(3)
    return network


def values(name: str, narrow: bool, salt: int) -> Weights:
    """The manifest's weights; ``narrow`` ones have the shapes of our network at that width."""
    if not narrow:
        return weights(name, salt)
    state = network_of(name, narrow).state_dict()
    names = {key: renamed(layouts()[name], key) for key, _ in manifest(name)}
    return {k: fill_tensor(k, tuple(state[our].shape), salt) for k, our in names.items()}


def check(tmp_path, salt: int, entry: tuple, narrow: bool) -> None:
    """Write the file of a recipe, load it, and compare every tensor of the network."""
    name, structure, source = entry
    recipe = next(r for r in manifest("containers")["containers"] if r["name"] == name)
    source = source or recipe["from"]
    tensors = chosen(recipe, values(source, narrow, salt))
    path = tmp_path / recipe.get("file", "snapshot.pth")
    legacy = recipe.get("legacy_serialisation", False)
    torch.save(structure(tensors), path, _use_new_zipfile_serialization=not legacy)
    initialises = "load_into" in recipe and name != "adaptsegnet_snapshot"
    for target in recipe["load_into"] if initialises else [source]:
        network = network_of(target, narrow)
        report = load_weights(network, path)
        state = network.state_dict()
        expected = {
            renamed(layouts()[source], key.removeprefix(recipe.get("prefix", ""))): tensor
            for key, tensor in tensors.items()
            if not key.startswith("fc.")
        }
        if initialises:
            expected = {k: t for k, t in expected.items() if k.startswith("backbone.")}
            assert not any(key.startswith("backbone.") for key in report.missing)
        else:
            assert report.missing == ()
        for key, tensor in expected.items():
            assert torch.equal(state[key], tensor), (target, key)
        untouched = [key for key in state if key not in expected]
        counters = [key for key in untouched if key.endswith("num_batches_tracked")]
        assert all(state[key] == 0 for key in counters)
        assert all(bool((state[key] == 3).all()) for key in untouched if key not in counters)


# The names of DAFormer follow from its depth, and its depth from its size.
SCALABLE = [entry for entry in FILES if entry[0] != "daformer"]


def title(entry: tuple) -> str:
    return "-".join([entry[0], entry[1].__name__.strip("<>"), entry[2] or ""]).rstrip("-")


@pytest.mark.parametrize("entry", SCALABLE, ids=title)
def test_narrow_networks_are_filled_from_every_official_structure(tmp_path, salt, entry):
    check(tmp_path, salt, entry, narrow=True)


@pytest.mark.slow
def test_a_daformer_of_full_size_is_filled_from_its_official_structure(tmp_path, salt):
    check(tmp_path, salt, next(entry for entry in FILES if entry not in SCALABLE), narrow=False)
