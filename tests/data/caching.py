"""What the tests of the cache share."""

import torch

from uda_hydra.data.cache import CachedImages, fill

SMALLER = (3, 2)  # width, height


def filled(plain, folder):
    cached = CachedImages(plain, folder)
    fill(cached.stores)
    return cached


def entries(folder, name=""):
    return sorted(path for path in folder.glob("*/*") if name in str(path))


def assert_same(cached, plain):
    assert cached.keys == plain.keys
    for index in range(len(plain.keys)):
        assert torch.equal(cached.image(index), plain.image(index))
        assert torch.equal(cached.label(index), plain.label(index))
