"""The weights every reference network starts from, a function of a tensor's name and shape."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor


def fill_tensor(key: str, shape: tuple[int, ...], salt: int) -> Tensor:
    """Float32 values of the state-dict entry ``key`` (named as in the reference files)."""
    name = key.rsplit(".", 1)[-1]
    if name == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    rng = np.random.RandomState((zlib.crc32(key.encode()) + salt) % 2**32)
    if name == "running_mean":
        values = 0.1 * rng.randn(*shape)
    elif name == "running_var":
        values = 1 + 0.1 * rng.rand(*shape)
    elif len(shape) >= 2:
        values = rng.randn(*shape) * math.sqrt(2 / math.prod(shape[1:]))
    elif name == "weight":
        values = 0.5 + 0.1 * rng.randn(*shape)
    else:
        values = 0.1 * rng.randn(*shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float64)).float()
