import pytest
from caching import SMALLER
from layouts import gta5_folder

from uda_hydra.data.readers import gta5
from uda_hydra.data.samples import Resized


@pytest.fixture
def plain(tmp_path):
    root = gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5])
    return Resized(gta5(root, num_classes=19), SMALLER)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded from here on."""
    names = []
    for method in (Resized.image, Resized.label):

        def counting(self, index, method=method):
            sample = self.images.samples[index]
            file = sample.image if method.__name__ == "image" else sample.label
            names.append(f"{file.parent.name}/{file.name}")
            return method(self, index)

        monkeypatch.setattr(Resized, method.__name__, counting)
    return names
