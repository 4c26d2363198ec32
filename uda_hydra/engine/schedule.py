"""How the learning rates of all players change over the steps."""

from __future__ import annotations


def rate_factor(
    step: int,
    *,
    horizon: int,
    power: float,
    warmup_steps: int = 0,
    warmup_start: float = 1.0,
    warmup_decays: bool = True,
) -> float:
    """Share of the base rate at ``step`` (from 0), in [0, 1].

    The polynomial (1 - step / horizon) ** power, 0 beyond ``horizon``; ``power`` 1 is linear.
    During ``warmup_steps`` a line from ``warmup_start`` to 1 multiplies it (DAFormer) or, without
    ``warmup_decays``, replaces it (CaCo's retraining, which then jumps to the polynomial).
    """
    decay = max(0.0, 1 - step / horizon) ** power
    if step >= warmup_steps:
        return decay
    warmup = warmup_start + (1 - warmup_start) * step / warmup_steps
    return warmup * decay if warmup_decays else warmup
