"""The weights that a network starts from; see ``checkpoints`` for how they are read."""

from __future__ import annotations

from uda_hydra.models.checkpoints.layouts import Layout
from uda_hydra.models.checkpoints.loading import LoadReport, load_weights
from uda_hydra.models.checkpoints.names import rename
from uda_hydra.models.checkpoints.recognition import recognise

__all__ = ["Layout", "LoadReport", "load_weights", "recognise", "rename"]
