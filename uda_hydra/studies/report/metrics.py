"""How the numbers of ``result.json`` are shown: name, unit and digits, by the form of the key."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from uda_hydra.studies.records import Value

SHARE = re.compile(r"iou/.+|miou(_.+|/(?!best_step$).+)?|fwiou|(pixel|mean)_accuracy")
"""Keys of numbers in 0..1: IoU of a class, mIoU, and mIoU of a subset of the classes."""
SUBSET = "miou_"
NAMES = {
    "miou/last": "mIoU",
    "miou/best": "mIoU, best of all evaluations",
    "miou/source_val": "mIoU on held-out source images",
    "entropy/target": "mean entropy on the target",
    "snd/target": "soft neighbourhood density on the target",
    "seconds": "training time",
    "peak_memory_gb": "peak memory",
}
UNITS = {"seconds": "s", "peak_memory_gb": "GB"}
TERMS = {
    "adv": "adversarial",
    "ce": "cross-entropy",
    "disc": "discriminator",
    "ent": "entropy",
    "feat": "feature contrast",
    "kd": "distillation",
    "lov": "Lovasz",
    "out": "output contrast",
    "rce": "reverse cross-entropy",
    "reg": "regularisation",
    "seg": "segmentation",
}
"""Terms of the loss whose key is an abbreviation."""


@dataclass(frozen=True)
class Metric:
    """A key of ``result.json``."""

    key: str

    @property
    def is_share(self) -> bool:
        """Whether it lies in 0..1 and is shown in percent; its differences are points."""
        return SHARE.fullmatch(self.key) is not None

    @property
    def scale(self) -> float:
        """The factor from a stored value to a shown one."""
        return 100.0 if self.is_share else 1.0

    @property
    def name(self) -> str:
        """The metric in words, without its unit."""
        if self.key.startswith(SUBSET):
            return f"mIoU ({self.key.removeprefix(SUBSET)})"
        return NAMES.get(self.key, self.key.removeprefix("iou/"))

    @property
    def label(self) -> str:
        """The label of an axis: name and unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def unit(self) -> str:
        """The unit of a shown value; empty where there is none."""
        return "%" if self.is_share else UNITS.get(self.key, "")

    @property
    def step(self) -> str:
        """The unit of a difference, with a space before it where there is one."""
        unit = "points" if self.is_share else UNITS.get(self.key, "")
        return f" {unit}" if unit else ""

    def show(self, value: float, sign: str = "") -> str:
        """A scaled value; ``sign`` is "+" for differences; - where it is not a number."""
        if not math.isfinite(value):
            return "-"
        return format(value, f"{sign}.2f" if self.is_share or abs(value) >= 100 else f"{sign}.4g")


def key_label(key: str) -> str:
    """The label of a swept key's axis: what it is in words, and below that the key itself."""
    group, _, name = key.lstrip("+").rpartition(".")
    if not group:
        return name
    words = name.split("_")
    if name.startswith("lambda_"):
        head = " (auxiliary head)" if words[-1] == "aux" else ""
        term = [TERMS.get(word, word) for word in words[1:] if word != "aux"]
        words = ["weight of the", *term, f"loss{head}"]
    return f"{' '.join(words)}\n{key}"


def shown_value(value: Value) -> str:
    """A swept value as one writes it on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
