"""Loss functions: pure, tensors and floats in, one scalar out. Methods write ``L.segmentation``."""

from uda_hydra.losses.adversarial import GANS, SOURCE, TARGET, adversarial, gan
from uda_hydra.losses.class_portion import balanced_label, confidence_at, confidence_counts
from uda_hydra.losses.consistency import consistency, disagreement
from uda_hydra.losses.contrast import category_contrast
from uda_hydra.losses.distillation import distillation
from uda_hydra.losses.entropy import (
    charbonnier_entropy,
    class_prior,
    entropy,
    mean_entropy,
    normalized_entropy,
    pixel_entropy,
    reliability,
    self_information,
)
from uda_hydra.losses.hard_label import half_precision_label, two_look_probability
from uda_hydra.losses.max_square import class_weights, image_wise, max_square, pixel_weights
from uda_hydra.losses.precision import full_precision, logits, probabilities
from uda_hydra.losses.prototypes import (
    prototype_distance,
    rectified,
    rectified_label,
    structure,
)
from uda_hydra.losses.pseudo_label import confident_label, guiding_label, label_shares
from uda_hydra.losses.regularization import REGULARIZERS
from uda_hydra.losses.segmentation import segmentation, supervised
from uda_hydra.losses.symmetric import reverse_cross_entropy
from uda_hydra.losses.variance import prediction_variance
