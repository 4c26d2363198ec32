"""Comparison with official numbers, whatever the types of both sides."""

from __future__ import annotations

import torch
from torch.testing import assert_close


def close(actual: object, expected: object, *, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Of one shape and equal within the bounds, in double precision."""
    pair = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (actual, expected))
    assert_close(*pair, rtol=rtol, atol=atol)
