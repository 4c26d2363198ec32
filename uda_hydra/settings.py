"""Run-level settings as plain dataclasses: their fields are the config's schema.

Nothing heavy is imported here, so that a typo is reported before torch is loaded. Ranges are
checked when an instance is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

NEUTRAL = {"neutral": True}
"""Metadata of a field that changes no number of a result: not part of a training's identity."""


def neutral_keys(settings: type) -> frozenset[str]:
    """The names of a dataclass's neutral fields."""
    return frozenset(one.name for one in fields(settings) if one.metadata == NEUTRAL)


def _require(condition: bool, key: str, wanted: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{key} must be {wanted}, got {value}")


def _positive(group: str, **values: float | int) -> None:
    for key, value in values.items():
        _require(value > 0, f"{group}.{key}", "positive", value)


def _not_negative(group: str, **values: float | int) -> None:
    for key, value in values.items():
        _require(value >= 0, f"{group}.{key}", "0 or more", value)


def _choose(key: str, value: str, *known: str) -> None:
    _require(value in known, key, f"one of {', '.join(known)}", value)


@dataclass
class OptimizerSettings:
    """Rates of the segmenter (SGD or AdamW) and of discriminators (Adam), and how both change."""

    algorithm: str
    """sgd or adamw, for the segmenter; adamw reads no momentum and no nesterov."""
    lr: float
    head_lr_factor: float
    """Rate of every head, relative to the backbone's."""
    layer_decay: float
    """Rate of a block of the backbone, relative to the next one's; 1 treats all alike."""
    momentum: float
    weight_decay: float
    decay_norms: str
    """all, heads or none: where weight decay also shrinks scale and shift of the norms."""
    nesterov: bool
    discriminator_lr: float
    discriminator_betas: list[float]
    power: float
    horizon: int
    """Steps after which the polynomial reaches 0; may lie beyond the end of the training."""
    warmup_steps: int
    """Steps in which a line leads up from ``warmup_start`` to the full rate; 0 begins with it."""
    warmup_start: float
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
        _positive("optimizer", lr=self.lr, horizon=self.horizon)
        _positive("optimizer", discriminator_lr=self.discriminator_lr)
        _not_negative(
            "optimizer",
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            power=self.power,
            head_lr_factor=self.head_lr_factor,
            warmup_steps=self.warmup_steps,
        )
        for key, share in (("layer_decay", self.layer_decay), ("warmup_start", self.warmup_start)):
            _require(0 <= share <= 1, f"optimizer.{key}", "in [0, 1]", share)
        _choose("optimizer.algorithm", self.algorithm, "sgd", "adamw")
        _choose("optimizer.decay_norms", self.decay_norms, "all", "heads", "none")
        repeated = self.backbone_repeats and self.algorithm != "sgd"
        _require(not repeated, "optimizer.backbone_repeats", "false with adamw", True)
        clash = self.fused and self.backbone_repeats
        _require(not clash, "optimizer.fused", "false with optimizer.backbone_repeats", self.fused)


@dataclass
class TrainerSettings:
    """Length and cadence of a training, and the machine it runs on."""

    steps: int
    batch_size: int
    """Images of each domain in a step."""
    accumulate: int
    """Parts into which the batch of a step is split to save memory; gradients add up."""
    evaluate_every: int
    save_every: int = field(metadata=NEUTRAL)
    log_every: int = field(metadata=NEUTRAL)
    device: str = field(metadata=NEUTRAL)
    """auto, cpu, cuda or cuda:<n>; auto takes a GPU where there is one."""
    precision: str
    """auto, fp32 or bf16; auto is bf16 autocast on CUDA and fp32 elsewhere."""
    workers: int = field(metadata=NEUTRAL)
    """Processes that decode ahead; 0 decodes in the training process."""
    threads: int | None
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
        _positive(
            "trainer",
            steps=self.steps,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            evaluate_every=self.evaluate_every,
            save_every=self.save_every,
            log_every=self.log_every,
        )
        _not_negative("trainer", workers=self.workers)
        fits = self.threads is None or self.threads > 0
        _require(fits, "trainer.threads", "positive or null", self.threads)
        whole = self.batch_size % self.accumulate == 0
        _require(whole, "trainer.accumulate", "a divisor of trainer.batch_size", self.accumulate)
        _choose("trainer.precision", self.precision, "auto", "fp32", "bf16")
        _choose("trainer.deterministic", self.deterministic, "off", "warn", "strict")


@dataclass
class EvaluationSettings:
    """How a label map is made of an image, and which truth it is compared with."""

    size: list[int] | None
    """Width and height of the network's input; None for that of the target's training images."""
    filter: str
    """How images are resized to it: bicubic, bilinear (antialiased) or opencv (its linear one)."""
    scales: list[float]
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
    aux_weight: float
    """Share of the auxiliary head's logits; 0 leaves the main head's alone."""
    average: str
    """Classes of the mean IoU: occurring, those in the truth; defined, those in truth or
    prediction; all, where a class in neither counts as 0."""

    def __post_init__(self) -> None:
        fits = self.size is None or (len(self.size) == 2 and min(self.size) > 0)
        _require(fits, "evaluation.size", "[width, height] in pixels or null", self.size)
        positive = bool(self.scales) and min(self.scales) > 0
        _require(positive, "evaluation.scales", "a list of positive numbers", self.scales)
        _require(self.aux_weight >= 0, "evaluation.aux_weight", "0 or more", self.aux_weight)
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
