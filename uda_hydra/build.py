"""From config nodes to objects: the only place where a config's names meet Python's."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from omegaconf import DictConfig, OmegaConf

from uda_hydra.config import plain, settings
from uda_hydra.data.labels import class_names
from uda_hydra.data.pair import Pair
from uda_hydra.engine.device import configure
from uda_hydra.engine.events import Callback
from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.engine.protocols import input_sizes
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import UserError, nearest
from uda_hydra.files import is_number
from uda_hydra.methods.base import Method, check_weights
from uda_hydra.methods.ensemble import Ensemble
from uda_hydra.models.init import load_weights
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.published import check_name
from uda_hydra.tracking.mlflow import Tracking

ALLOWED = ("models", "methods", "data", "augment", "callbacks")
"""Subpackages of uda_hydra that a ``_target_`` may name things of; nothing else can be built."""
SCORES = (
    *("miou/last", "miou/best", "pixel_accuracy", "mean_accuracy", "fwiou", "seconds"),
    *DIRECTIONS,
)
"""What ``objective`` may be, beside the IoU of a class."""


def locate(target: str, key: str) -> Callable[..., Any]:
    """The class or function that ``target`` names, if a config may build it.

    Only what an allowed module itself defines counts: what it imports stays out of reach, so that
    a config from a stranger cannot run arbitrary code.
    """
    module, _, name = target.rpartition(".")
    if module.split(".")[:1] == ["uda_hydra"] and module.split(".")[1:2] in [[a] for a in ALLOWED]:
        try:
            found = vars(importlib.import_module(module)).get(name)
        except ModuleNotFoundError:
            found = None
        made = inspect.isclass(found) or inspect.isfunction(found)
        if made and found.__module__ == module and not name.startswith("_"):
            return found
    places = ", ".join(f"uda_hydra.{name}" for name in ALLOWED)
    raise UserError(f"{key}._target_={target} names nothing that a config may build ({places})")


def build(node: DictConfig | Mapping[str, Any], key: str, /, *extra: Any, **more: Any) -> Any:
    """Call what ``node._target_`` names with the rest of the node; errors name ``key``.

    ``extra`` and ``more`` are objects that no config can hold.
    """
    values = dict(plain(node))
    if "_target_" not in values:
        raise UserError(f"{key} has no _target_: which class or function should be built?")
    target = locate(values.pop("_target_"), key)
    check_signature(target, values, key, given=more, positional=len(extra))
    return _calling(target, *extra, **values, **more)


def _calling(target: Callable[..., Any], /, *extra: Any, **values: Any) -> Any:
    """The result of the call; bad values and missing files are the user's to mend."""
    try:
        return target(*extra, **values)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def check_signature(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    key: str,
    *,
    given: Mapping[str, Any] = {},
    positional: int = 0,
) -> None:
    """Raise UserError unless ``values`` are arguments of ``target``, complete and of its types."""
    parameters = dict([*inspect.signature(target).parameters.items()][positional:])
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in given]
    for name in values:
        if name not in known and not open_ended:
            raise UserError(f"there is no key {key}.{name}{nearest(name, known)}")
    for name in known:
        parameter = parameters[name]
        needed = (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        )
        if needed and name not in values:
            raise UserError(f"{key}.{name} is missing; {target.__qualname__} needs it")
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            wanted = getattr(hints[name], "__name__", str(hints[name]))
            raise UserError(f"{key}.{name} must be {wanted}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML is of a scalar type; containers are left to who receives them."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, NoneType):
        return isinstance(value, hint)
    return value is not None or hint is Any


def device(name: str) -> torch.device:
    """``trainer.device`` resolved; an absent one is an error and not a fallback."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError:
        raise UserError(f"trainer.device={name} is no device; use auto, cpu or cuda:<n>") from None
    count = torch.cuda.device_count()
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device={name} is not supported; use auto, cpu or cuda:<n>")
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UserError(
            f"trainer.device={name} is not there: this machine has {count} CUDA devices; use auto"
        )
    return found


def bfloat16(precision: str, where: torch.device) -> bool:
    """Whether ``trainer.precision`` means bf16 autocast on this device."""
    return precision == "bf16" or (precision == "auto" and where.type == "cuda")


def check(config: DictConfig) -> None:
    """Everything about a training that can be known before data or network are touched."""
    settings(config.trainer)
    settings(config.optimizer)
    settings(config.evaluation)
    build(config.augmentation, "augmentation")
    build(config.sampler, "sampler")
    device(config.trainer.device)
    # What the constructors refuse must be known now, not when the stages before have been trained.
    network = build(config.model, "model", num_classes=config.dataset.num_classes)
    if config.evaluation.aux_weight and network.aux_head is None:
        raise UserError("evaluation.aux_weight must be 0: this model has no auxiliary head")
    _calling(check_weights, method(config, network).terms, plain(config.loss))
    check_objective(config)
    check_name(config.published)


def published_as(config: DictConfig) -> str:
    """Whose published rows belong beside a run: those of ``published``, else of its method.

    A method is known by its module, training on the target's labels as "oracle".
    """
    check_name(config.published)
    if config.published is not None:
        return config.published
    return "oracle" if config.dataset.oracle else config.method._target_.split(".")[-2]


def check_objective(config: DictConfig) -> None:
    """The objective, or each of several, must be a score that every result has."""
    scores = [*SCORES, *(f"iou/{name}" for name in class_names(config.dataset.num_classes))]
    scores += ["miou_13"] if config.dataset.num_classes == 16 else []
    one = isinstance(config.objective, str)
    objectives = [config.objective] if one else [*(config.objective or [])]
    if not objectives:
        raise UserError("objective must name a score of a result, or a list of them")
    for name in objectives:
        if name not in scores:
            raise UserError(f"objective={name} is no score of a result{nearest(str(name), scores)}")
    held_out = config.dataset.source.get("validation")
    if "miou/source_val" in objectives and (held_out is None or config.dataset.oracle):
        raise UserError(
            "objective=miou/source_val needs source images that are not trained on: "
            "dataset.source.validation names their split, and dataset.oracle has none"
        )


def check_init(config: DictConfig) -> None:
    """The weights to begin with must be there."""
    if config.init is not None and not Path(config.init).is_file():
        raise UserError(
            f"init={config.init}: there is no such file. Give the file with the weights to begin "
            "with, or init=null to begin with random ones."
        )


def segmenter(config: DictConfig) -> Segmenter:
    """The network with random weights drawn from ``seed``, then those of ``init`` if given."""
    check_init(config)
    torch.manual_seed(config.seed)
    network = build(config.model, "model", num_classes=config.dataset.num_classes)
    if config.init is not None:
        print(_calling(load_weights, network, Path(config.init)))
    return network


def ensemble(config: DictConfig) -> Ensemble:
    """The networks of ``ensemble``, each of them the one that ``model`` names."""
    members = [settings(member) for member in config.ensemble]
    for member in members:
        if not Path(member.init).is_file():
            raise UserError(f"ensemble: there is no file {member.init} with weights to score")
    networks = [segmenter(OmegaConf.merge(config, {"init": member.init})) for member in members]
    return Ensemble(networks, [member.weight for member in members])


def method(config: DictConfig, network: Segmenter) -> Method:
    """The method around its network."""
    return build(config.method, "method", network)


def pair(config: DictConfig) -> Pair:
    """The domain pair; generated where it is generated, looked for where it is not.

    Its validation images are as the evaluation protocol wants them, its training images are shown
    as ``augmentation`` says, those of the source in the order of ``sampler``.
    """
    protocol = settings(config.evaluation)
    found = build(config.dataset, "dataset")
    sizes = input_sizes(protocol, found.validation.images.size)
    found = found.augmented(build(config.augmentation, "augmentation"))
    found = found.sampled(build(config.sampler, "sampler"))
    return found.seen_at(sizes, filter=protocol.filter, shrink_labels=protocol.labels == "input")


def trainer(config: DictConfig, data: Pair, folder: Path, callbacks: list[Callback]) -> Trainer:
    """All of a training, ready to restore and to fit."""
    chosen = settings(config.trainer)
    where = device(chosen.device)
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
        normalization=network.normalization,
        seed=config.seed,
        device=where,
        bfloat16=bfloat16(chosen.precision, where),
        folder=folder,
        callbacks=callbacks,
    )


def callbacks(config: DictConfig, parent: Path | None = None) -> list[Callback]:
    """Those who watch, in the order of the config; tracking last, so that it sees all files.

    ``parent`` is the folder of the run whose stage this is.
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
            )
        )
    return watching
