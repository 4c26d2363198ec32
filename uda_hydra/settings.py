"""Run-level settings as plain dataclasses: their fields are the config's schema.

Nothing heavy is imported here, so that a typo is reported before torch is loaded. Ranges are checked
when an instance is made.
"""

from __future__ import annotations

from dataclasses import dataclass


def _require(condition: bool, key: str, wanted: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{key} must be {wanted}, got {value}")


@dataclass
class OptimizerSettings:
    """Rates of the segmenter (SGD) and of its adversaries (Adam), and how both decay."""

    lr: float
    head_lr_factor: float
    momentum: float
    weight_decay: float
    nesterov: bool
    adversary_lr: float
    adversary_betas: list[float]
    power: float
    horizon: int
    """Steps after which the polynomial reaches 0; may lie beyond the end of the training."""
    backbone_repeats: bool
    """Update backbone parameters as often as the official code lists them."""
    accumulate_decay: bool
    """Let the weight decay pile up over the repeats, as torch up to 1.4 did."""

    def __post_init__(self) -> None:
        for key in ("lr", "adversary_lr", "horizon"):
            value = self.__dict__[key]
            _require(value > 0, f"optimizer.{key}", "positive", value)
        for key in ("momentum", "weight_decay", "power", "head_lr_factor"):
            value = self.__dict__[key]
            _require(value >= 0, f"optimizer.{key}", "0 or more", value)


@dataclass
class TrainerSettings:
    """Length and cadence of a training, and the machine it runs on."""

    steps: int
    batch_size: int
    """Images of each domain in a step."""
    evaluate_every: int
    save_every: int
    log_every: int
    device: str
    """auto, cpu, cuda or cuda:<n>; auto takes a GPU where there is one."""
    precision: str
    """auto, fp32 or bf16; auto is bf16 autocast on CUDA and fp32 elsewhere."""
    workers: int
    """Processes that decode ahead; 0 decodes in the training process."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "evaluate_every", "save_every", "log_every"):
            value = self.__dict__[key]
            _require(value > 0, f"trainer.{key}", "positive", value)
        _require(self.workers >= 0, "trainer.workers", "0 or more", self.workers)
        known = ("auto", "fp32", "bf16")
        _require(
            self.precision in known, "trainer.precision", f"one of {', '.join(known)}", self.precision
        )


@dataclass
class TrackingSettings:
    """Where runs are logged."""

    enabled: bool
    uri: str
    """MLflow store: sqlite:///path (relative to where the command runs), http://server:port ..."""
    experiment: str
    artifacts: str
    """Folder of the artifacts of a local store; a server decides for itself."""
