"""Numbers that conf/ gives as shares of a training."""

from __future__ import annotations

import pytest

from tests.conftest import composed
from tests.runs.test_stages import planned


def test_a_warm_up_is_whole_steps():
    assert composed("dataset=streets", "method=daformer").optimizer.warmup_steps == 34


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (["method=dacs"], "ema_momentum", 1 - 1 / 22.5),
        (["method=caco/contrast", "trainer.steps=200"], "ema_momentum", 0.8),
        (["method=caco/contrast", "trainer.steps=6"], "ema_momentum", 0.0),
        (["method=proda/denoise"], "prototype_momentum", 1 / 72),
        (["method=proda/denoise", "trainer.batch_size=1"], "prototype_momentum", 1 / 36),
        (["method=proda/denoise", "trainer.steps=6"], "prototype_momentum", 1.0),
        (["method=mic/daformer"], "mask_block", 8),
        (["method=mic/daformer", "dataset.target.size=[640,320]"], "mask_block", 20),
    ],
)
def test_they_suit_any_length_and_size(lines, key, value):
    """Of 900 steps, two images each, and 128 rows where nothing else is said."""
    assert composed("dataset=streets", *lines).method[key] == pytest.approx(value)


def test_they_are_those_of_each_stage():
    longer = planned("method=caco", "dataset=streets", "+stage.caco.trainer.steps=400")
    assert longer["caco"].config.method.ema_momentum == pytest.approx(0.9)
    assert longer["source"].config.trainer.steps == 900
