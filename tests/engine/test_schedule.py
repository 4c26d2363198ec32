from __future__ import annotations

import pytest

from uda_hydra.engine.schedule import rate_factor


def test_poly_starts_at_one_and_ends_at_zero():
    assert rate_factor(0, horizon=10, power=0.9) == 1
    assert rate_factor(5, horizon=10, power=1.0) == 0.5
    assert [rate_factor(step, horizon=10, power=0.9) for step in (10, 11)] == [0, 0]


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1e-6),
        (1, 6.676e-4),
        (750, 0.490625),
        (1499, 0.961883),
        (1500, 0.9625),
        (20000, 0.5),
        (39999, 2.5e-5),
        (40000, 0.0),
    ],
)
def test_daformer_warms_up_while_it_decays(step, factor):
    # (1 - i / T) (1 - [i < 1500] (1 - i / 1500) (1 - 1e-6)), to the digits of its table.
    ours = rate_factor(step, horizon=40000, power=1.0, warmup_steps=1500, warmup_start=1e-6)
    assert ours == pytest.approx(factor, rel=1e-4)
    warmup = 1 - (step < 1500) * (1 - step / 1500) * (1 - 1e-6)
    assert ours == pytest.approx((1 - step / 40000) * warmup, rel=1e-9)


def test_caco_s_retraining_warms_up_before_it_decays():
    def factor(step: int) -> float:
        return rate_factor(
            step,
            horizon=100000,
            power=0.9,
            warmup_steps=5000,
            warmup_start=0.1,
            warmup_decays=False,
        )

    assert [factor(step) for step in (0, 2500)] == pytest.approx([0.1, 0.55], rel=1e-12)
    # The polynomial counts from step 0, so the rate falls when the warm-up ends.
    assert factor(4999) == pytest.approx(0.1 + 0.9 * 4999 / 5000)
    assert factor(5000) == pytest.approx(0.95**0.9)
