"""From config nodes to objects: the only place where a config's names meet Python's."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from uda_hydra.config import plain, settings
from uda_hydra.data.labels import label_space
from uda_hydra.data.pair import Pair
from uda_hydra.engine.device import configure, find_device, uses_bfloat16
from uda_hydra.engine.events import Callback
from uda_hydra.engine.protocols import input_sizes
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import UserError
from uda_hydra.files import digest_of
from uda_hydra.methods.base import Method
from uda_hydra.models import pretrained
from uda_hydra.models.checkpoints.loading import LoadReport, load_weights
from uda_hydra.models.ensemble import Ensemble
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.signature import check_signature
from uda_hydra.tracking.mlflow import Tracking

ALLOWED = ("models", "methods", "data", "augment", "callbacks")
"""Subpackages of uda_hydra that a ``_target_`` may name things of; nothing else can be built."""


def locate(target: str, key: str) -> Callable[..., Any]:
    """The class or function that ``target`` names, if a config may build it.

    Only what an allowed module itself defines counts: what it imports stays out of reach, so that
    a config from a stranger cannot run arbitrary code.
    """
    module, _, name = target.rpartition(".")
    if module.startswith(tuple(f"uda_hydra.{part}." for part in ALLOWED)):
        try:
            found = vars(importlib.import_module(module)).get(name)
        except ModuleNotFoundError:
            found = None
        buildable = inspect.isclass(found) or inspect.isfunction(found)
        if buildable and found.__module__ == module and not name.startswith("_"):
            return found
    places = ", ".join(f"uda_hydra.{name}" for name in ALLOWED)
    raise UserError(f"{key}._target_={target} names nothing that a config may build ({places})")


def build(node: DictConfig | Mapping[str, Any], key: str, /, *extra: Any, **more: Any) -> Any:
    """Call what ``node._target_`` names with the rest of the node; errors name ``key``.

    ``extra`` and ``more`` are objects that no config can hold.
    """
    target, values = buildable(node, key, given=more, positional=len(extra))
    try:
        return target(*extra, **values, **more)
    except (ValueError, OSError) as error:
        # What PyTorch and timm say of a value names no key.
        named = re.search(r"[a-z_]\.[a-z_]", str(error))
        raise UserError(str(error) if named else f"{key}: {error}") from error


def buildable(
    node: DictConfig | Mapping[str, Any],
    key: str,
    *,
    given: Mapping[str, Any] = {},
    positional: int = 0,
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What ``node._target_`` names, and the rest of the node, which are arguments that it takes."""
    values = plain(node)
    if not isinstance(values, Mapping) or "_target_" not in values:
        raise UserError(f"{key} has no _target_: which class or function should be built?")
    values = dict(values)
    target = locate(values.pop("_target_"), key)
    check_signature(target, values, key, given=given, positional=positional)
    return target, values


def call(target: Callable[..., Any], /, *extra: Any, **values: Any) -> Any:
    """The result of a call, whose ValueError or OSError the user can correct: a UserError."""
    try:
        return target(*extra, **values)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def weights_file(config: DictConfig) -> Path:
    """The file with the weights to begin with; ``init`` may name a package or timm's hub."""
    return call(pretrained.weights_file, config.init, config.model.get("backbone"))


def check_init(config: DictConfig) -> None:
    """The weights to begin with must be there."""
    if config.init is not None and not (file := weights_file(config)).is_file():
        found = "this is a folder" if file.is_dir() else "there is no such file"
        ours = sorted([*file.glob("last.pt"), *file.glob("*/last.pt")])
        remedy = (
            f"Choose init={' or init='.join(map(str, ours))}."
            if ours
            else (
                "Give the file with the weights to begin with, or init=null for random ones; "
                "uda_hydra/models/README.md says who publishes which."
            )
        )
        raise UserError(f"init={config.init}: {found}. {remedy}")


def segmenter(config: DictConfig, *, whole: bool = False) -> Segmenter:
    """The network with random weights drawn from ``seed``, then those of ``init`` if given.

    Those of a ``whole`` network must have trained heads.
    """
    check_init(config)
    torch.manual_seed(config.seed)
    found = network(config)
    if config.init is not None:
        print(load_init(found, config, whole=whole))
    return found


def network(config: DictConfig) -> Segmenter:
    """The network with random weights, drawn from the present state of the generator."""
    return build(config.model, "model", num_classes=len(label_space(config.dataset.classes)))


def load_init(network: Segmenter, config: DictConfig, *, whole: bool = False) -> LoadReport:
    """Give the network the weights of ``init``; UserError if they do not fit."""
    known = network.backbone.layout
    return call(load_weights, network, weights_file(config), known=known, whole=whole)


def check_predictor(config: DictConfig) -> None:
    """The weights of ``init``, or those of every member of ``ensemble``, must be there."""
    if not config.ensemble and config.init is None:
        raise UserError(
            f"task={config.task} needs init=FILE: the weights of the network; "
            "or ensemble=[{init: FILE}, ...]"
        )
    if (network := config.evaluation.network) not in (None, "student"):
        raise UserError(
            f"evaluation.network={network} is what a training scores; task={config.task} takes the "
            "student's weights: leave it out"
        )
    for member in map(settings, config.ensemble):
        if not Path(member.init).is_file():
            raise UserError(f"ensemble: there is no file {member.init} with weights")
    if not config.ensemble:
        check_init(config)


def predictor(config: DictConfig) -> Segmenter | Ensemble:
    """The network with the weights of ``init``, or those of ``ensemble`` together."""
    members = [settings(member) for member in config.ensemble]
    if not members:
        return segmenter(config, whole=True)
    files = [{"init": member.init} for member in members]
    networks = [segmenter(OmegaConf.merge(config, file), whole=True) for file in files]
    return call(Ensemble, networks, [m.weight for m in members], of=config.ensemble_of)


def method(config: DictConfig, network: Segmenter) -> Method:
    """The method around its network, with ``extra`` around it; ``name`` is for people."""
    options = {key: value for key, value in plain(config.method).items() if key != "name"}
    found = build(options, "method", network)
    if config.extra is None:
        return found
    try:
        return build(config.extra, "extra", network, host=found)
    except UserError as error:
        # It names its options as those of a method.
        raise UserError(str(error).replace("method.", "extra.")) from error.__cause__


def pair(config: DictConfig) -> Pair:
    """The domain pair; generated where it is generated, looked for where it is not.

    Its validation images are as the evaluation protocol wants them, its training images are shown
    as ``augmentation`` says, those of the source in the order of ``sampler``.
    """
    protocol = settings(config.evaluation)
    found = build(config.dataset, "dataset")
    trained = found.validation.images.size
    sizes = call(input_sizes, protocol, trained)
    labels = tuple(protocol.size or trained) if protocol.labels == "input" else None
    found = found.augmented(build(config.augmentation, "augmentation"))
    found = found.sampled(build(config.sampler, "sampler"))
    return found.seen_at(sizes, filter=protocol.filter, labels=labels)


def pair_opener() -> Callable[[DictConfig], Pair]:
    """A function that opens the domain pair of a stage's config, each pair once."""
    opened: dict[str, Pair] = {}

    def open_pair(config: DictConfig) -> Pair:
        groups = ("dataset", "augmentation", "sampler", "evaluation")
        read = digest_of([plain(config[key]) for key in groups])
        if read not in opened:
            opened[read] = pair(config)
        return opened[read]

    return open_pair


def trainer(config: DictConfig, data: Pair, folder: Path, callbacks: list[Callback]) -> Trainer:
    """All of a training, ready to restore and to fit."""
    chosen = settings(config.trainer)
    device = find_device(chosen.device)
    configure(chosen)
    network = segmenter(config)
    network.backbone.checkpointing = chosen.activation_checkpointing
    whole = method(config, network)
    if chosen.compile:
        network.compile()
    return Trainer(
        whole,
        data,
        settings=chosen,
        optimizer=settings(config.optimizer),
        evaluation=settings(config.evaluation),
        weights=plain(config.loss),
        seed=config.seed,
        device=device,
        bfloat16=uses_bfloat16(chosen.precision, device),
        folder=folder,
        callbacks=callbacks,
    )


def callbacks(
    config: DictConfig, parent: Path | None = None, tags: Mapping[str, str] = {}
) -> list[Callback]:
    """The callbacks in the order of the config; tracking last, so that it sees all files.

    ``parent`` is the folder of the run whose stage this is; ``tags`` are for MLflow.
    """
    watching = [build(node, f"callbacks.{name}") for name, node in config.callbacks.items()]
    tracking = settings(config.tracking)
    if tracking.enabled:
        watching.append(
            Tracking(
                tracking.uri,
                tracking.experiment,
                artifacts=Path(tracking.artifacts),
                parent=parent,
                tags=tags,
                weights=tracking.weights,
            )
        )
    return watching
