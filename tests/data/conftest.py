import pytest
from caching import SMALLER
from layouts import gta5_folder

from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.samples import ResizedImages


@pytest.fixture
def plain(tmp_path):
    root = gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5])
    return ResizedImages(gta5(root, label_space=CITYSCAPES19), SMALLER)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded from here on."""
    names = []
    for method in (ResizedImages.image, ResizedImages.label):

        def counting(self, index, method=method):
            sample = self.images.samples[index]
            file = sample.image if method.__name__ == "image" else sample.label
            names.append(f"{file.parent.name}/{file.name}")
            return method(self, index)

        monkeypatch.setattr(ResizedImages, method.__name__, counting)
    return names
