"""Values that no training can use are refused, whatever the key."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.conftest import composed
from uda_hydra.config import MOST_PIXELS, check_values, settings
from uda_hydra.errors import UserError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method.anything", math.nan),
        ("dataset.gap", -math.inf),
        ("model.blocks", [1, [2, math.inf]]),
        ("model.head_channels", -3),
        ("seed", -1),
        ("dataset.seed", 99_999_999_999_999_999_999_999),
        ("trainer.steps", 10**400),
        ("loss.lambda_seg", -0.5),
        ("loss.lambda_seg", math.nan),
        ("optimizer.momentum", 1),
        ("optimizer.discriminator_betas", [0.9, 1.5]),
        ("evaluation.scales", [1.0, 0]),
        ("trainer.batch_size", 100_000_000_000),
        ("trainer.workers", 100_000),
        ("dataset.target.size", [1_000_000, 1_000_000]),
        ("augmentation.crop", [8193, 8192]),
        ("augmentation.scale_range", [1000, 100_000]),
    ],
)
def test_a_number_that_its_key_cannot_hold_is_refused_by_name(key, value):
    group, _, name = key.rpartition(".")
    with pytest.raises(UserError, match=rf"^{key} must be ") as refused:
        check_values({group: {name: value}} if group else {name: value})
    assert str(value)[:20] in str(refused.value)


def test_a_path_that_no_shell_has_expanded_is_refused():
    with pytest.raises(
        UserError, match=f"^dataset.root=~/d is not expanded: write {Path.home()}/d"
    ):
        check_values({"dataset": {"root": "~/d"}})


def test_all_other_values_pass():
    check_values(composed())
    check_values({"size": [8192, MOST_PIXELS // 8192], "a": [True, None, "nan", {"b": 1}]})


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("optimizer.momentum=1", r"in \[0, 1\)"),
        ("optimizer.lr=inf", "positive"),
        ("optimizer.weight_decay=nan", "0 or more"),
        ("optimizer.discriminator_betas=[0.9]", "two numbers"),
        ("trainer.threads=0", "positive"),
        ("evaluation.scales=[1,1e9]", "at most 10"),
        ("evaluation.size=[4]", "width, height"),
    ],
)
def test_ranges_are_those_of_the_fields(override, wanted):
    key = override.partition("=")[0]
    with pytest.raises(UserError, match=rf"^{key} must be .*{wanted}"):
        settings(composed(override)[key.partition(".")[0]])


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("+seeds=3", "there is no key seeds; did you mean seed?"),
        ("+trainer.stepz=3", r"there is no key trainer\.stepz; did you mean trainer\.steps?"),
        ("+tracking.folder=3", r"there is no key tracking\.folder; there are artifacts, "),
    ],
)
def test_a_key_that_was_added_must_be_one_of_its_group(added, message):
    with pytest.raises(UserError, match=message):
        check_values(composed(added))
