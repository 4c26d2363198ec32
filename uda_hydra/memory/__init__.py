"""State that outlives a step: modules made of buffers, saved and restored with the method."""

from uda_hydra.memory.category_queue import CategoryQueue
from uda_hydra.memory.cells import sample_anchors
from uda_hydra.memory.class_balance import ClassBalance
from uda_hydra.memory.class_centres import (
    ClassMemory,
    class_centres,
    fill_missing,
    image_means,
    whole_centres,
)
from uda_hydra.memory.ema import EmaTeacher, ema_momentum
from uda_hydra.memory.frozen import Frozen
from uda_hydra.memory.moving_prototypes import (
    ClassMeans,
    MovingPrototypes,
    class_means,
    running_mean,
)
from uda_hydra.memory.pixel_bank import PixelBank
from uda_hydra.memory.prototypes import Gaussians, Prototypes
