"""Where the tensors lie in a file: every structure that official code saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from uda_hydra.models.checkpoints.names import abbreviate


class Part(NamedTuple):
    """A state dict inside a file."""

    path: tuple[str, ...]
    """The keys under which the state dict lies, outermost first."""
    prefix: str = ""
    """What is put before the names of its tensors."""


class Container(NamedTuple):
    """One structure: its state dicts, and what is taken of them."""

    name: str
    parts: tuple[Part, ...]
    take: str = ""
    """Only names with this prefix are taken, and they lose it."""


CONTAINERS = (
    Container("uda_hydra", (Part(("method",)),)),
    Container("proda", (Part(("ResNet101", "model_state")),)),
    Container(
        "proca",
        (
            Part(("feature_extractor",), "feature_extractor."),
            Part(("classifier",), "classifier."),
        ),
    ),
    # The student; its averages and its ImageNet copy lie next to it in the file.
    Container("mmseg", (Part(("state_dict",)),), take="model."),
    Container("maxsquare", (Part(("state_dict",)),)),
    Container("model", (Part(("model",)),)),
    Container("flat", (Part(()),)),
    # Written in another way and read as a flat one.
    Container("proca_prototypes", (Part(()),)),
    Container("cfcontra_centres", (Part(()),)),
)
"""Every known structure; the first one that fits a file is used."""


class Unwrapped(NamedTuple):
    """The wanted tensors of a file, and the keys that were ignored."""

    tensors: dict[str, Tensor]
    container: str
    ignored_keys: tuple[str, ...]
    """Keys of the file that hold something other than the wanted tensors."""


def unwrap(content: object, file: str, *, take: str = "segmenter.") -> Unwrapped:
    """Find the tensors; their names lose "module.", which several GPUs put before them.

    Of a method's checkpoint only names with the prefix ``take`` are taken, and they lose it.
    """
    for container in CONTAINERS:
        if container.name == "uda_hydra":
            container = container._replace(take=take)
        tensors = _taken(content, container)
        if tensors:
            used = {part.path[0] for part in container.parts if part.path}
            keys = [str(key) for key in content] if used else []
            return Unwrapped(tensors, container.name, tuple(k for k in keys if k not in used))
    keys = (
        abbreviate([str(key) for key in content])
        if isinstance(content, Mapping)
        else "not a dictionary"
    )
    raise ValueError(f"init={file}: holds no tensors where weights are looked for ({keys})")


def wrap(tensors: dict[str, Tensor], container: str) -> dict[str, object]:
    """The structure that official code loads and resumes from, with its counters at 0."""
    if container == "proda":
        # Its training keeps prototypes here; they start from zeros.
        prototypes = torch.zeros(tensors["layer5.head.1.weight"].shape[:2])
        state = {"model_state": tensors, "objective_vectors": prototypes}
        return {"ResNet101": state, "iter": 0, "best_iou": 0.0}
    if container == "proca":
        return {
            "iteration": 0,
            "feature_extractor": _inside(tensors, "feature_extractor."),
            "classifier": _inside(tensors, "classifier."),
        }
    if container == "proca_prototypes":
        # Its products with features need one precision; we count in double.
        return {name: tensor.float() for name, tensor in tensors.items()}
    if container == "mmseg":
        return {"meta": {}, "state_dict": {f"model.{name}": t for name, t in tensors.items()}}
    if container == "maxsquare":
        state = {f"module.{name}": tensor for name, tensor in tensors.items()}
        return {"epoch": 0, "iteration": 0, "state_dict": state, "best_MIou": 0.0}
    return dict(tensors)


def _taken(content: object, container: Container) -> dict[str, Tensor]:
    """The tensors that ``container`` takes from ``content``; empty if it does not fit."""
    tensors: dict[str, Tensor] = {}
    for part in container.parts:
        inner = content
        for key in part.path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if not isinstance(inner, Mapping):
            return {}
        named = {str(k).removeprefix("module."): v for k, v in inner.items() if _is_tensor(v)}
        taken = _inside(named, container.take)
        if not taken:
            return {}
        tensors |= {f"{part.prefix}{name}": tensor for name, tensor in taken.items()}
    return tensors


def _inside(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
