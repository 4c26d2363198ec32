"""Readers of the published layouts; each function checks its files and returns an ``ImageSet``."""

from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.decode import UnreadableFile, read_rgb
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.readers.image_set import ImageSet, Layout, Sample
from uda_hydra.data.readers.synthia import synthia

__all__ = [
    "ImageSet",
    "Layout",
    "Sample",
    "UnreadableFile",
    "cityscapes",
    "gta5",
    "read_rgb",
    "synthia",
]
