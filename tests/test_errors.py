"""A misspelt choice or key ends in one line with the nearest names of its level."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import composed
from uda_hydra.errors import explain


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("method=cacoo", "there is no method=cacoo; did you mean method=caco?"),
        (
            "method=caco/contrst",
            "there is no method=caco/contrst; did you mean method=caco/contrast?",
        ),
        ("method=xyzzy", "there is no method=xyzzy; there are adabn, adaptsegnet"),
        (
            "experiment=synthia2city_multi_v2",
            "did you mean experiment=adv_da/synthia2city_multi_v2?",
        ),
        ("sweep=lambda_av", "there is no sweep=lambda_av; did you mean sweep=lambda_adv?"),
        ("tracking=mlflw", "did you mean tracking=mlflow?"),
        ("hydra/sweeper/pruner=medan", "did you mean hydra/sweeper/pruner=median?"),
        (
            "hydra/launcher=ray",
            "needs a package: pip install 'uda_hydra[ray]'",
        ),
        ("hydra.sweeper.n_trial=3", "did you mean hydra.sweeper.n_trials?"),
        ("hydra.sweeper.param.x=3", "did you mean hydra.sweeper.params?"),
        ("dataset.target.siz=3", "did you mean dataset.target.size?"),
        ("loss.lambda_ent=1", "this method has loss.lambda_consistency, loss.lambda_con"),
        ("+stages.a=[method=advent]", """quotes within quotes: "+stages.a=['...','...']\""""),
        ("seed=0,1", "seed=0,1: add -m to run each value"),
        ("extra=null", "a config group has no option null: leave it out"),
        ("trainer.steps=many", "trainer.steps must be a whole number, got 'many'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(monkeypatch, mistake, message):
    monkeypatch.setattr(sys, "argv", ["launch.py", mistake])
    with pytest.raises(Exception) as caught:
        composed(mistake)
    text = explain(caught.value)
    assert text is not None
    assert message in text
    assert "\n" not in text
