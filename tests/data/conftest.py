import pytest
from caching import SMALLER
from layouts import cityscapes_folder, gta5_folder

from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.pairs import from_disk
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
def cached():
    """Whether ``pair`` keeps decoded images; a test that is about it is parametrised over it."""
    return False


@pytest.fixture
def pair(tmp_path, cached):
    """Five labelled images of GTA5, and three of each split of Cityscapes."""
    gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5])
    for split in ("train", "val"):
        cityscapes_folder(tmp_path / "C", split, [f"ulm_{i:06d}_000019" for i in range(3)])
    target = {"layout": "cityscapes", "root": tmp_path / "C", "split": "train", "size": [6, 4]}
    return from_disk(
        name="pair",
        classes="cityscapes19",
        oracle=False,
        cache=cached,
        cache_folder=str(tmp_path / "cache"),
        source={"layout": "gta5", "root": tmp_path / "GTA5", "split": "all", "size": [4, 5]},
        target=target | {"validation": "val"},
    )


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
