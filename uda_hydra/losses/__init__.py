"""Loss functions: pure, tensors and floats in, one scalar out. Methods write ``L.segmentation``."""

from uda_hydra.losses.adversarial import GANS, SOURCE, TARGET, adversarial, gan
from uda_hydra.losses.bank_contrast import bank_contrast
from uda_hydra.losses.class_threshold import (
    bins_at,
    class_thresholds,
    confidence_histogram,
    image_histograms,
    portion_thresholds,
    share_thresholds,
    values_in_bins,
)
from uda_hydra.losses.consistency import consistency, disagreement
from uda_hydra.losses.contrast import (
    Similarity,
    category_contrast,
    centre_contrast,
    from_chance,
    gaussian_contrast,
    prototype_contrast,
    similarity,
)
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
from uda_hydra.losses.feature_distance import feature_distance, majority_label
from uda_hydra.losses.fine_grained import class_knowledge, fine_grained
from uda_hydra.losses.hard_label import half_precision_label, two_look_probability
from uda_hydra.losses.lovasz import lovasz_softmax, supervised_lovasz
from uda_hydra.losses.max_square import class_weights, image_wise, max_square, pixel_weights
from uda_hydra.losses.precision import full_precision, logits, probabilities
from uda_hydra.losses.prototypes import (
    prototype_distance,
    rectified,
    rectified_label,
    structure,
)
from uda_hydra.losses.pseudo_label import (
    MASKS,
    agreeing_label,
    balanced_label,
    confident_label,
    confident_share,
    guiding_label,
    label_shares,
    nearest_centre,
    network_label,
    own_label,
    per_channel,
    sure_label,
)
from uda_hydra.losses.regularization import REGULARIZERS
from uda_hydra.losses.segmentation import segmentation, supervised
from uda_hydra.losses.soft_label import entropy_regularized_label, soft_cross_entropy
from uda_hydra.losses.symmetric import reverse_cross_entropy
from uda_hydra.losses.variance import prediction_variance
