"""The networks of the official releases, as ours are built, with the weights of the references."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.parity.conftest import DEFAULT
from tests.parity.fill import fill_tensor
from uda_hydra.models.daformer import mix_transformer
from uda_hydra.models.deeplabv2 import deeplabv2, deeplabv2_vgg16
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat
from uda_hydra.models.deeplabv3plus import deeplabv3plus
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import Prediction, upsample

IMAGE_SIZED = ("main_up", "aux_up")


class Network(NamedTuple):
    """How ours is built, the layout of the official names, and what the release calls "feat"."""

    build: Callable[..., Segmenter]
    options: dict[str, object]
    layout: str
    feat: str = "features"


def _sum(layout: str, feat: str = "features", /, **options: object) -> Network:
    return Network(deeplabv2, options, layout, feat)


def _cat(layout: str, feat: str = "head_feature", /, **options: object) -> Network:
    return Network(deeplabv2_cat, options, layout, feat)


def _cfcontra(kind: str) -> Network:
    return _sum(f"cfcontra_{kind}", "projection", projector=kind)


PROCA = {
    "layout": "torchvision",
    "normalization": "torchvision",
    "batch_norm": "trained",
    "initialization": "proca",
}
VANILLA = {"multi_level": True, "head_channels": 512, "normalization": "caffe"}
NETWORKS = {
    "adaptseg_multi": _sum("adaptseg_multi", active_branches=2),
    "adaptseg_single": _sum("adaptseg_single", active_branches=2, multi_level=False),
    "adaptseg_vgg16": Network(deeplabv2_vgg16, {"active_branches": 2}, "adaptseg_vgg16"),
    "advent": _sum("advent"),
    "advent_single": _sum("advent_single", multi_level=False),
    "caco_f": _sum("caco"),
    "cacovan_advent_caco": _sum(
        "cacovan_advent_projector", projector="caco_vanilla", train_projector=True
    ),
    "cacovan_advent_proj": _sum(
        "cacovan_advent_projector", projector="caco_vanilla", train_projector=True
    ),
    "cacovan_bn": _cat(
        "cacovan_bn", **VANILLA, head_norm="batch", squeeze=False, batch_norm="affine_frozen"
    ),
    "cacovan_gn_se": _cat("cacovan_gn_se", **VANILLA),
    "cfcontra_none": _sum("cfcontra_none"),
    "cfcontra_moco": _cfcontra("moco"),
    "cfcontra_simclr": _cfcontra("simclr"),
    "cfcontra_byol": _cfcontra("byol"),
    "cfcontra_linear": _cfcontra("linear"),
    "maxsquare": _sum("maxsquare", active_branches=2, batch_norm="stem_frozen"),
    "proda": _cat("proda"),
    "proda_bnclr": _cat("proda", feat_norm=True),
    "proca": _sum("proca", multi_level=False, **PROCA),
    "proca_frozenbn": _sum("proca", multi_level=False, **{**PROCA, "batch_norm": "fixed"}),
    "proca_v3head": _cat("proca_v3head", "features", **{**PROCA, "initialization": "he"}),
    "proca_vgg16": Network(deeplabv2_vgg16, {"normalization": "vgg"}, "proca_vgg16"),
    "ybao_v3plus": Network(deeplabv3plus, {}, "ybao_v3plus"),
    "ybao_v3plus_os8": Network(deeplabv3plus, {"output_stride": 8}, "ybao_v3plus"),
    "daformer": Network(mix_transformer, {"drop_path": 0.0}, "daformer"),
    "daformer_mitb5": Network(mix_transformer, {}, "daformer"),
    "segformer_mitb5": Network(
        mix_transformer, {"head": "segformer", "head_channels": 768}, "segformer"
    ),
    "daformer_dlv2red_r101v1c": _sum(
        "daformer_dlv2",
        layout="v1c",
        multi_level=False,
        branches=2,
        active_branches=2,
        normalization="daformer",
        batch_norm="trained",
        initialization="proca",
    ),
}
"""By the name of a manifest without number of classes and "r101", or that of a small case."""
SMALL = {
    deeplabv2: {"blocks": (1, 1, 1, 1)},
    deeplabv2_cat: {"blocks": (1, 1, 1, 1)},
    deeplabv3plus: {"blocks": (1, 1, 1, 3)},
    mix_transformer: {"size": "tiny"},
}


def manifest(name: str) -> object:
    """The file ``name`` of the reference's manifests."""
    # Another set of numbers may come without the manifests, which are the same for all sets.
    folders = (Path(os.environ.get("UDA_REFERENCE", DEFAULT)), DEFAULT)
    paths = [folder / "manifests" / f"{name}.json" for folder in folders]
    path = next((path for path in paths if path.is_file()), paths[0])
    if not path.is_file():
        pytest.skip(f"no reference file at {path}; set UDA_REFERENCE to their folder")
    return json.loads(path.read_text())


def split_name(name: str) -> tuple[str, int]:
    """Key of ``NETWORKS`` and number of classes: "proda_r101_bnclr_16" is (proda_bnclr, 16)."""
    stem, num_classes = name.rsplit("_", 1)
    return re.sub(r"_r101(?!v1c)", "", stem), int(num_classes)


def on_meta(name: str, num_classes: int, **more: object) -> Segmenter:
    """Ours without memory for its weights."""
    known = NETWORKS[name]
    with torch.device("meta"):
        return known.build(num_classes=num_classes, **(known.options | more))


def small(name: str, num_classes: int, **more: object) -> Segmenter:
    """Ours at the size of the training cases, with every dropout off."""
    segmenter = on_meta(name, num_classes, **SMALL[NETWORKS[name].build], **more)
    for module in segmenter.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return segmenter


# Cases share most of their weights, and drawing those of a ResNet-101 takes seconds.
cached_fill = lru_cache(maxsize=1000)(fill_tensor)


def drawn(keys: Iterable[str], shapes: Iterable[str], salt: int) -> dict[str, Tensor]:
    """The weights of these entries; a shape is a text like "64,3,7,7"."""
    sizes = [tuple(int(n) for n in shape.split(",") if n) for shape in shapes]
    return {key: cached_fill(key, size, salt) for key, size in zip(keys, sizes, strict=True)}


def official_weights(case) -> dict[str, Tensor]:
    """The case's weights under the official names."""
    return drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])


def renamed(layout: str, official: str) -> str | None:
    """Our name of an entry; None for one that has no place in ours."""
    for pattern, replacement in manifest("renaming")["rules"][layout]:
        if re.match(pattern, official):
            return None if replacement is None else re.sub(pattern, replacement, official)
    raise KeyError(f"{official} is no name of the layout {layout}")


def fill(module: nn.Module, case, layout: str) -> dict[str, str]:
    """Give ``module`` the case's weights; returns our name of each official entry it has."""
    return load(module, official_weights(case), layout)


def load(module: nn.Module, weights: dict[str, Tensor], layout: str) -> dict[str, str]:
    """Give ``module`` the weights; returns our name of each official entry it has."""
    names = {official: renamed(layout, official) for official in weights}
    names = {official: ours for official, ours in names.items() if ours is not None}
    module.to_empty(device="cpu")
    module.load_state_dict({ours: weights[official] for official, ours in names.items()})
    return names


def image_of(case, group) -> Tensor:
    """The shared image that the case names, "[a:b]" being a part of the batch."""
    name, a, b = re.fullmatch(r"shared/in/(\w+?)(?:\[(\d+):(\d+)\])?", case.args["image"]).groups()
    image = group["shared"].inputs[name]
    return image if a is None else image[int(a) : int(b)]


def outputs(name: str, prediction: Prediction, size: tuple[int, int]) -> dict[str, Tensor]:
    """The prediction under the names of the references."""
    found = {"main": prediction.main, "aux": prediction.aux, "proj": prediction.projection}
    found["feat"] = prediction._asdict()[NETWORKS[name].feat]
    found |= {f"c{i + 1}": stage for i, stage in enumerate(prediction.stages)}
    found |= {"feat1": prediction.stages[2], "feat2": prediction.stages[3]}
    found["main_up"] = upsample(prediction.main, size)
    found["aux_up"] = None if prediction.aux is None else upsample(prediction.aux, size)
    return {key: value for key, value in found.items() if value is not None}


def figures(map: Tensor) -> dict[str, Tensor]:
    """What the references say of a whole map."""
    return {
        "mean": map.mean(),
        "std": map.std(correction=0),
        "l2": map.norm(),
        "absmax": map.abs().max(),
    }
