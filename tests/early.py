"""Imported before our own modules: what makes many tests in one process start and run fast.

Inside a module that jaxtyping checks, everything imported for the first time is compiled anew, so
that large packages come here. And while a million objects are made that stay, there is no use in
looking for rubbish among them.
"""

from __future__ import annotations

import gc
from importlib import import_module

LARGE = (
    *("torch._dynamo", "torchvision", "timm", "optuna", "scipy.stats", "sklearn.metrics"),
    *("matplotlib.pyplot", "plotly.graph_objects", "hydra", "mlflow"),
)

gc.disable()
for name in LARGE:
    import_module(name)


def collected() -> None:
    """From now on rubbish is looked for, as every training does, but not in what is there."""
    gc.freeze()
    gc.enable()
