"""The embedded data set: procedural street scenes in the layouts of the real data sets."""

from uda_hydra.data.streets.gap import read_gap
from uda_hydra.data.streets.generator import GENERATOR_VERSION, generate

__all__ = ["GENERATOR_VERSION", "generate", "read_gap"]
