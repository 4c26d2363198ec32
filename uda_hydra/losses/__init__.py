"""Loss functions: pure, tensors and floats in, one scalar out. Methods write ``L.segmentation``."""

from uda_hydra.losses.adversarial import GANS, SOURCE, TARGET, adversarial, gan
from uda_hydra.losses.consistency import consistency, disagreement
from uda_hydra.losses.contrast import category_contrast
from uda_hydra.losses.entropy import (
    class_prior,
    entropy,
    mean_entropy,
    normalized_entropy,
    pixel_entropy,
    reliability,
    self_information,
)
from uda_hydra.losses.feature_distance import feature_distance, majority_label
from uda_hydra.losses.max_square import class_weights, image_wise, max_square, pixel_weights
from uda_hydra.losses.precision import full_precision, logits, probabilities
from uda_hydra.losses.pseudo_label import confident_label, confident_share, guiding_label
from uda_hydra.losses.segmentation import segmentation, supervised
