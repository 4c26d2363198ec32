"""What can be known about a training before its data are touched or any stage is trained."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from uda_hydra import build
from uda_hydra.augment.training import Augmentation
from uda_hydra.config import check_values, plain, settings
from uda_hydra.data.domain import check_size
from uda_hydra.data.labels import label_space
from uda_hydra.data.pair import Pair
from uda_hydra.data.pairs import holds_out
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.samplers import check_scan, read_statistics, scan_file
from uda_hydra.engine.device import find_device, without_memory
from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.errors import UserError, nearest
from uda_hydra.inputs import shown
from uda_hydra.methods.base import check_one_size, check_weights
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.published import check_name
from uda_hydra.runs.identity import FINGERPRINTS, paths_below
from uda_hydra.runs.layout import RunLayout
from uda_hydra.runs.stages import Stage
from uda_hydra.tracking.uri import check_uri
from uda_hydra.types import IGNORE

SCORES = (
    *("miou/last", "miou/best", "pixel_accuracy", "mean_accuracy", "fwiou"),
    *("seconds", "peak_memory_gb"),
    *DIRECTIONS,
)
"""What ``objective`` may be, in addition to the IoU of a class."""


def check_stages(stages: Iterable[Stage]) -> None:
    """``check_training`` for every stage."""
    for stage in stages:
        check_training(stage.config)


def check_training(config: DictConfig) -> None:
    """Raise UserError for what settings, constructors and objective refuse.

    Network and method are built without memory for their weights, so that values which only their
    constructors know to be wrong are reported before the stages before have been trained.
    """
    check_values(config)
    if config.fingerprint not in FINGERPRINTS:
        raise UserError(
            f"fingerprint must be one of {', '.join(FINGERPRINTS)}, got {config.fingerprint}"
        )
    for group in (config.trainer, config.optimizer, config.evaluation):
        settings(group)
    space = label_space(config.dataset.classes)
    build.buildable(config.dataset, "dataset")
    for part in ("source", "target"):
        build.call(check_size, plain(config.dataset[part].get("size")), f"dataset.{part}")
    augmentation = build.build(config.augmentation, "augmentation")
    _check_crop(augmentation, config.dataset)
    sampler = build.build(config.sampler, "sampler")
    check_scan(sampler.scan(scan_file(config.dataset.name, space.name)))
    for name, node in config.callbacks.items():
        build.buildable(node or {}, f"callbacks.{name}")
    find_device(config.trainer.device)
    with without_memory():
        network = build.network(config)
        if config.evaluation.aux_weight and network.aux_head is None:
            raise UserError("evaluation.aux_weight must be 0: this model has no auxiliary head")
        _check_method(config, network, augmentation)
    _check_mix(config, augmentation)
    check_objective(config)
    check_name(config.published)
    if config.tracking.enabled:
        build.call(check_uri, config.tracking.uri)


def _check_crop(augmentation: object, dataset: DictConfig) -> None:
    """A crop that is larger than every picture would be filled up in every batch."""
    crop = getattr(augmentation, "crop", None)
    for part in ("target",) if dataset.oracle else ("source", "target"):
        size = plain(dataset[part].get("size"))
        largest = augmentation.uncropped(part, tuple(size)) if crop and size else None
        if largest and any(want > have for want, have in zip(crop, largest, strict=True)):
            raise UserError(
                f"augmentation.crop={crop} is larger than what it is cut from: the {part}'s images "
                f"of dataset.{part}.size={size} become {largest[0]} x {largest[1]} at most. Make "
                "augmentation.crop smaller, or the images larger"
            )


def _check_mix(config: DictConfig, augmentation: Augmentation) -> None:
    """Views must be of one size where a class mix pastes one domain's onto the other's."""
    options = config.method if config.extra is None else config.extra
    sizes = [plain(config.dataset[part].get("size")) for part in ("source", "target")]
    if options.get("mix") in (None, "none") or config.dataset.oracle or None in sizes:
        return
    (source, label), (target, _) = map(_black, sizes)
    source_view = augmentation.source(source, label, tuple(sizes[0]), Random(0))
    target_view = augmentation.target(target, tuple(sizes[1]), Random(0))
    check_one_size(source_view.label.shape, target_view.image.shape[-2:])


def _black(size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """An image of this width and height, and its label."""
    width, height = size
    label = torch.zeros(height, width, dtype=torch.uint8)
    return label.expand(3, -1, -1), label


def _check_method(config: DictConfig, network: Segmenter, augmentation: Augmentation) -> None:
    """Construct the method; a file that an earlier stage will make need not be there yet."""
    try:
        method = build.method(config, network)
        build.call(method.scored, config.evaluation.network)
        build.call(method.check_views, augmentation)
        terms = method.terms
    except UserError as error:
        missing = error.__cause__
        if not (isinstance(missing, FileNotFoundError) and _is_made(config, missing.filename)):
            raise
        terms = build.locate(config.method._target_, "method").terms
        if config.extra is not None:
            terms = (*terms, *build.locate(config.extra._target_, "extra").added)
    build.call(check_weights, terms, plain(config.loss))


def _is_made(config: DictConfig, path: str | None) -> bool:
    """Whether a file lies below an earlier stage."""
    folders = (config.folders or {}).values()
    return path is not None and any(Path(path).is_relative_to(folder) for folder in folders)


def check_init(config: DictConfig) -> None:
    """Raise UserError unless the first weights fit the network, or an earlier stage makes them."""
    if config.init is None or _is_made(config, config.init):
        return
    _check_file(config)
    with without_memory():
        network = build.network(config)
    # Copied to a network without memory: nothing but names and shapes matters.
    build.load_init(network, config)


def _check_file(config: DictConfig) -> None:
    """Raise UserError unless the first weights are there, or an earlier stage makes them."""
    if not _is_made(config, config.init):
        build.check_init(config)


def reads(stage: Stage, stages: Sequence[Stage], names: Container[str]) -> list[str]:
    """The stages of those ``names`` whose files a stage reads."""
    return [
        other.name
        for other in stages
        if other.name in names and paths_below(stage.config, other.folder)
    ]


def outdated(stages: Sequence[Stage], results: Mapping[str, object | None]) -> list[Stage]:
    """The stages without a result, and those that read their files."""
    found: dict[str, Stage] = {}
    for stage in stages:
        if results[stage.name] is None or reads(stage, stages, found):
            found[stage.name] = stage
    return [*found.values()]


def available(
    stages: Sequence[Stage], optional: Sequence[str]
) -> tuple[list[Stage], dict[str, str]]:
    """The stages of a table that can be trained, and the names of the others with the reason.

    A stage is skipped if it is ``optional`` and its first weights are not there, or if it reads
    the files of one that is skipped. Raises UserError if that leaves fewer than two.
    """
    there: list[Stage] = []
    skipped: dict[str, str] = {}
    for stage in stages:
        if missing := reads(stage, stages, skipped):
            skipped[stage.name] = f"It needs {missing[0]}."
            continue
        try:
            if stage.name in optional:
                _check_file(stage.config)
        except UserError as error:
            skipped[stage.name] = str(error)
        else:
            there.append(stage)
    if skipped and len(there) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"a table compares several trainings, and some are skipped. {reasons}")
    return there, skipped


def check_objective(config: DictConfig) -> None:
    """The objective, or each of several, must be a score that every result has."""
    space = label_space(config.dataset.classes)
    scores = [*SCORES, *(f"iou/{name}" for name in space.names), *space.subsets]
    one = isinstance(config.objective, str)
    several = [*config.objective] if isinstance(config.objective, ListConfig) else []
    objectives = [config.objective] if one else several
    if not objectives:
        raise UserError("objective must name a score of a result, or a list of them")
    for name in objectives:
        if name not in scores:
            near = [score for score in scores if score.startswith(f"{name}/")] or scores
            raise UserError(
                f"objective={name} is not a score of a result{nearest(str(name), near)}"
            )
    held_out = holds_out(config.dataset.source) and not config.dataset.oracle
    if "miou/source_val" in objectives and not held_out:
        raise UserError(
            "objective=miou/source_val needs source images that are not trained on: "
            "dataset.source.validation names their split, and dataset.oracle has none"
        )


def check_table(table: str | None, layout: RunLayout) -> None:
    """The runs of a table lie in its folder, and have several stages."""
    if table is not None and (not layout.grouped or layout.top.parent != Path(table)):
        raise UserError(
            f"table={table} needs a run of several stages whose output lies in that folder; "
            "see conf/experiment/table.yaml, or leave out table"
        )


def check_statistics(pair: Pair) -> None:
    """Raise UserError if the scan that the sampler reads is not one of the source as it is now."""
    if pair.scan is not None:
        read_statistics(pair.scan, pair.source.images)


def check_labels(pair: Pair) -> None:
    """Raise UserError if no pixel of the source or of the validation images has a class.

    Nor may the first label of somebody's own folders have another size than its image. As a rule
    one label of each is read.
    """
    parts: Sequence[tuple[str, int, object]] = (
        ("source images: nothing can be learned", len(pair.source.keys), pair.source),
        ("validation images: nothing can be scored", len(pair.validation), pair.validation.labels),
    )
    for what, count, labels in parts:
        if not any((labels.label(index) != IGNORE).any() for index in range(count)):
            raise UserError(
                f"no pixel of {pair.name} has a class in the labels of the {what}. "
                "task=check_data shows what the files hold."
            )
        _check_first_size(labels.images)


def _check_first_size(images: ImageSet) -> None:
    """A data set of one's own is exported as a whole; published ones have odd labels."""
    if images.layout.published:
        return
    first = images.samples[0]
    image, label = images.read_image(first).shape[:2], images.read_label(first).shape
    if image != label:
        raise UserError(
            f"{shown(first.label)} has {label[1]}x{label[0]} pixels and its image "
            f"{image[1]}x{image[0]}: export both at one size. task=check_data names all."
        )
