"""Loss functions: pure, tensors and floats in, one scalar out. Methods write ``L.segmentation``."""

from uda_hydra.losses.consistency import consistency, disagreement
from uda_hydra.losses.contrast import category_contrast
from uda_hydra.losses.entropy import normalized_entropy, reliability
from uda_hydra.losses.precision import probabilities
from uda_hydra.losses.segmentation import segmentation, supervised

__all__ = [
    "category_contrast",
    "consistency",
    "disagreement",
    "normalized_entropy",
    "probabilities",
    "reliability",
    "segmentation",
    "supervised",
]
