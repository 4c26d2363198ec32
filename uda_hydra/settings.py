"""Run-level settings as plain dataclasses: their fields are the config's schema.

Nothing heavy is imported here, so that a typo is reported before torch is loaded. The range of a
number stands in the metadata of its field and is checked when an instance is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

NEUTRAL = {"neutral": True}
"""Metadata of a field that changes no number of a result: not part of a training's identity."""


class Range(NamedTuple):
    """What a number may be; of a list, each of its numbers."""

    wanted: str
    """For people: "<key> must be <wanted>"."""
    holds: Callable[[Any], bool]


POSITIVE = {"range": Range("positive", lambda number: number > 0)}
NOT_NEGATIVE = {"range": Range("0 or more", lambda number: number >= 0)}
SHARE = {"range": Range("in [0, 1]", lambda number: 0 <= number <= 1)}
MOMENTUM = {"range": Range("in [0, 1)", lambda number: 0 <= number < 1)}
BATCH = {"range": Range("positive and at most 65536", lambda number: 0 < number <= 2**16)}
THREADS = {"range": Range("positive and at most 1024", lambda number: 0 < number <= 1024)}
WORKERS = {"range": Range("in 0..1024", lambda number: 0 <= number <= 1024)}
SCALE = {"range": Range("positive and at most 10", lambda number: 0 < number <= 10)}


def neutral_keys(settings: type) -> frozenset[str]:
    """The names of a dataclass's neutral fields."""
    return frozenset(one.name for one in fields(settings) if "neutral" in one.metadata)


def ranges(group: str, settings: Any) -> dict[str, Range]:
    """The range of each number in a dataclass that declares one, by ``<group>.<field>``."""
    declared = [one for one in fields(settings) if "range" in one.metadata]
    return {f"{group}.{one.name}": one.metadata["range"] for one in declared}


def numbers_in(value: Any) -> Iterator[float]:
    """The numbers in a value, which may be a list; truth values are none."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from numbers_in(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def check_ranges(group: str, settings: Any) -> None:
    """Raise ValueError for a number of a dataclass that is out of its range or not finite."""
    for key, allowed in ranges(group, settings).items():
        value = getattr(settings, key.rpartition(".")[2])
        for number in numbers_in(value):
            holds = number != math.inf and allowed.holds(number)
            _require(holds, key, allowed.wanted, value)


def _require(condition: bool, key: str, wanted: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{key} must be {wanted}, got {value}")


def _choose(key: str, value: str, *known: str) -> None:
    _require(value in known, key, f"one of {', '.join(known)}", value)


@dataclass
class OptimizerSettings:
    """Rates of the segmenter (SGD or AdamW) and of discriminators (Adam), and how both change."""

    algorithm: str
    """sgd or adamw, for the segmenter; adamw reads no momentum and no nesterov."""
    lr: float = field(metadata=POSITIVE)
    head_lr_factor: float = field(metadata=NOT_NEGATIVE)
    """Rate of every head, relative to the backbone's."""
    layer_decay: float = field(metadata=SHARE)
    """Rate of a block of the backbone, relative to the next one's; 1 treats all alike."""
    momentum: float = field(metadata=MOMENTUM)
    weight_decay: float = field(metadata=NOT_NEGATIVE)
    decay_norms: str
    """all, heads or none: where weight decay also shrinks scale and shift of the norms."""
    nesterov: bool
    discriminator_lr: float = field(metadata=POSITIVE)
    discriminator_betas: list[float] = field(metadata=MOMENTUM)
    power: float = field(metadata=NOT_NEGATIVE)
    horizon: int = field(metadata=POSITIVE)
    """Steps after which the polynomial reaches 0; may lie beyond the end of the training."""
    warmup_steps: int = field(metadata=NOT_NEGATIVE)
    """Steps in which a line leads up from ``warmup_start`` to the full rate; 0 begins with it."""
    warmup_start: float = field(metadata=SHARE)
    """Share of the rate at the first step of the warm-up."""
    warmup_decays: bool
    """Whether the polynomial counts during the warm-up too, or only after it."""
    backbone_repeats: bool
    """Update backbone parameters as often as the official code lists them."""
    accumulate_decay: bool
    """Let the weight decay pile up over the repeats, as torch up to 1.4 did."""
    fused: bool
    """One kernel for all parameters of an optimiser."""

    def __post_init__(self) -> None:
        check_ranges("optimizer", self)
        pair = len(self.discriminator_betas) == 2
        _require(pair, "optimizer.discriminator_betas", "two numbers", self.discriminator_betas)
        _choose("optimizer.algorithm", self.algorithm, "sgd", "adamw")
        _choose("optimizer.decay_norms", self.decay_norms, "all", "heads", "none")
        repeated = self.backbone_repeats and self.algorithm != "sgd"
        _require(not repeated, "optimizer.backbone_repeats", "false with adamw", True)
        clash = self.fused and self.backbone_repeats
        _require(not clash, "optimizer.fused", "false with optimizer.backbone_repeats", self.fused)


KEEPS = ("both", "last", "best", "weights")


@dataclass
class TrainerSettings:
    """Length and cadence of a training, and the machine it runs on."""

    steps: int = field(metadata=POSITIVE)
    batch_size: int = field(metadata=BATCH)
    """Images of each domain in a step."""
    accumulate: int = field(metadata=POSITIVE)
    """Parts into which the batch of a step is split to save memory; gradients add up."""
    evaluate_every: int = field(metadata=POSITIVE)
    save_every: int = field(metadata=NEUTRAL | POSITIVE)
    log_every: int = field(metadata=NEUTRAL | POSITIVE)
    keep: str = field(metadata=NEUTRAL)
    """Checkpoints that are left at the end: both (last.pt, the one before it, and best.pt), last,
    best, or weights, which is last.pt without the optimisers. What a later stage of the run reads
    is left in any case."""
    device: str = field(metadata=NEUTRAL)
    """auto, cpu, cuda or cuda:<n>; auto takes a GPU where there is one."""
    precision: str
    """auto, fp32 or bf16; auto is bf16 autocast on CUDA and fp32 elsewhere."""
    workers: int = field(metadata=NEUTRAL | WORKERS)
    """Processes that decode ahead; 0 decodes in the training process."""
    threads: int | None = field(metadata=THREADS)
    """CPU threads that share the arithmetic of a step. The number decides how sums are rounded, so
    it is part of a run's identity. None leaves it to OMP_NUM_THREADS, or to the machine's cores."""
    channels_last: bool
    """Store maps pixel by pixel; the same numbers up to rounding, at another speed."""
    compile: bool
    """torch.compile the segmenter."""
    cudnn_benchmark: bool
    """Let cuDNN try its kernels on every new input size."""
    deterministic: str
    """off, warn (where CUDA has no deterministic kernel) or strict (an error there)."""
    activation_checkpointing: bool
    """Recompute the backbone's activations in the backward pass instead of storing them."""

    def __post_init__(self) -> None:
        check_ranges("trainer", self)
        whole = self.batch_size % self.accumulate == 0
        _require(whole, "trainer.accumulate", "a divisor of trainer.batch_size", self.accumulate)
        _choose("trainer.keep", self.keep, *KEEPS)
        _choose("trainer.precision", self.precision, "auto", "fp32", "bf16")
        _choose("trainer.deterministic", self.deterministic, "off", "warn", "strict")


@dataclass
class EvaluationSettings:
    """How a label map is made of an image, and which truth it is compared with."""

    size: list[int] | None = field(metadata=POSITIVE)
    """Width and height of the network's input; None for that of the target's training images."""
    filter: str
    """How images are resized to it: bicubic, bilinear (antialiased) or opencv (its linear one)."""
    scales: list[float] = field(metadata=SCALE)
    """Relative sizes at which the image is looked at."""
    rescale: str
    """image: every scale is resized from the file; input: from the normalised input."""
    mirror: bool
    """Look at the mirror image too."""
    softmax: str
    """after or before the enlargement; the mean over all looks is one of probabilities."""
    align_corners: bool
    """How maps are enlarged."""
    via_input_size: bool
    """Enlarge to the input's size first, and from there to the label's."""
    labels: str
    """full: at their own size; input: resized to the input's."""
    aux_weight: float = field(metadata=NOT_NEGATIVE)
    """Share of the auxiliary head's logits; 0 leaves the main head's alone."""
    window: list[int] | None = field(metadata=POSITIVE)
    """Width and height of windows whose logits are averaged; None looks at the whole image."""
    window_stride: list[int] | None = field(metadata=POSITIVE)
    """How far apart the windows are; only read with a ``window``."""
    network: str | None
    """student, teacher or both: what a training scores. None is the student."""
    average: str
    """Classes of the mean IoU: occurring, those in the truth; defined, those in truth or
    prediction; all, where a class in neither counts as 0."""

    def __post_init__(self) -> None:
        check_ranges("evaluation", self)
        fits = self.size is None or len(self.size) == 2
        _require(fits, "evaluation.size", "[width, height] in pixels or null", self.size)
        for name in ("window", "window_stride"):
            value = getattr(self, name)
            fits = len(value) == 2 if value is not None else name == "window" or not self.window
            _require(fits, f"evaluation.{name}", "[width, height] in pixels or null", value)
        if self.window is not None:
            covered = all(s <= w for s, w in zip(self.window_stride, self.window, strict=True))
            wanted = f"at most the window, {self.window}"
            _require(covered, "evaluation.window_stride", wanted, self.window_stride)
        _choose("evaluation.network", self.network or "student", "student", "teacher", "both")
        _require(bool(self.scales), "evaluation.scales", "a list of numbers", self.scales)
        _choose("evaluation.filter", self.filter, "bicubic", "bilinear", "opencv")
        _choose("evaluation.rescale", self.rescale, "image", "input")
        _choose("evaluation.softmax", self.softmax, "before", "after")
        _choose("evaluation.labels", self.labels, "full", "input")
        _choose("evaluation.average", self.average, "occurring", "defined", "all")


@dataclass
class MemberSettings:
    """One network of an ensemble."""

    init: str
    """File of its weights."""
    weight: float = 1.0
    """Of its logits in the sum."""

    def __post_init__(self) -> None:
        known = 0 < self.weight < math.inf
        _require(known, f"the weight of {self.init} in ensemble", "positive", self.weight)


@dataclass
class StartSettings:
    """Where trainings that are compared begin: one checkpoint that all of them share."""

    overrides: list[str] | None
    """Of a stage before a method of one training, [method=source_only]; a method that has stages
    of its own begins with those."""
    seed: int | None
    """Of the stages before the last; None for the run's own."""
    folder: str | None
    """Where the stages before the last are kept, once for all runs; None for each run's folder."""


@dataclass
class TrialSettings:
    """The run's place in a study; set by the sweeper."""

    study: str | None
    """Folder of the study."""
    number: int | None
    swept: list[str]
    """Keys that differ between the trials."""
    prune: bool
    """Report every evaluation to the study's pruner, which may end the training."""


@dataclass
class TrackingSettings:
    """Where runs are logged."""

    enabled: bool
    uri: str
    """MLflow store: sqlite:///path (relative to where the command runs), http://server:port ..."""
    experiment: str
    artifacts: str
    """Folder of the artifacts of a local store; a server decides for itself."""
    weights: str
    """last, best or none: the network of a finished training that is logged as a model."""

    def __post_init__(self) -> None:
        _choose("tracking.weights", self.weights, "last", "best", "none")
