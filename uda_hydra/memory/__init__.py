"""State that outlives a step: modules made of buffers, saved and restored with the method."""

from uda_hydra.memory.category_queue import CategoryQueue
from uda_hydra.memory.ema import EmaTeacher, ema_momentum
from uda_hydra.memory.frozen import Frozen
