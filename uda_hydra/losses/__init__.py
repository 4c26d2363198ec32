"""Loss functions: pure, tensors and floats in, one scalar out. Methods write ``L.segmentation``."""

from uda_hydra.losses.adversarial import GANS, SOURCE, TARGET, gan, through
from uda_hydra.losses.consistency import consistency, disagreement
from uda_hydra.losses.contrast import category_contrast
from uda_hydra.losses.entropy import (
    class_prior,
    entropy,
    normalized_entropy,
    reliability,
    self_information,
)
from uda_hydra.losses.max_square import (
    class_weights,
    confident_label,
    guiding_label,
    image_wise,
    max_square,
    mean_entropy,
    pixel_entropy,
    pixel_weights,
)
from uda_hydra.losses.precision import full_precision, logits, probabilities
from uda_hydra.losses.segmentation import segmentation, supervised

__all__ = [
    "GANS",
    "SOURCE",
    "TARGET",
    "category_contrast",
    "class_prior",
    "class_weights",
    "confident_label",
    "consistency",
    "disagreement",
    "entropy",
    "full_precision",
    "gan",
    "guiding_label",
    "image_wise",
    "logits",
    "max_square",
    "mean_entropy",
    "normalized_entropy",
    "pixel_entropy",
    "pixel_weights",
    "probabilities",
    "reliability",
    "segmentation",
    "self_information",
    "supervised",
    "through",
]
