"""A mistake on the command line ends in one line, with the nearest names of its level."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import composed
from uda_hydra.errors import explain
from uda_hydra.runs.checks import check_training


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
        ("extra=null", "one of its options, not null or a number: leave it"),
        ("trainer.steps=many", "trainer.steps must be a whole number, got 'many'"),
        ("loss.lambda_seg=null", "loss.lambda_seg must not be null"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(monkeypatch, mistake, message):
    assert message in explained(monkeypatch, mistake)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("optimzer.lr=1", ("optimzer.lr", "optimizer.lr")),
        ("method.temprature=1", ("method.temprature", "method.temperature")),
        ("loss.lambda_contarst=1", ("loss.lambda_contarst", "loss.lambda_contrast")),
        ("+loss.lambda_entropy=1", ("loss.lambda_entropy", "loss.lambda_contrast")),
        ("+method.foo=1", ("method.foo",)),
        ("trainer.steps=-1", ("trainer.steps", "-1")),
        ("method.temperature=-1.0", ("method.temperature", "-1")),
        ("method.temperature=hot", ("method.temperature", "hot")),
        ("optimizer.lr=0", ("optimizer.lr", "positive")),
        ("trainer.device=cuda:77", ("trainer.device", "cuda:77")),
        ("trainer.precision=fp8", ("trainer.precision", "bf16")),
        ("dataset.target.size=[0,4]", ("dataset.target.size", "[0, 4]")),
        ("method._target_=os.system", ("method._target_", "os.system")),
        ("model._target_=torch.load", ("model._target_", "torch.load")),
        ("stage.source.seed=1", ("+stage.source.seed",)),
        ("dataset.root=~/d", ("quotes", f"dataset.root='{Path.home()}/d'")),
        ("dataset.root=/mnt/données", ("quotes", "dataset.root='/mnt/données'")),
        ("loss.lambda_seg=nan", ("loss.lambda_seg", "finite")),
        ("objective=miou/lats", ("objective", "miou/last")),
        ("tracking.uri=file:./x", ("tracking.uri", "sqlite:///outputs/mlflow.db")),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_remedy(monkeypatch, mistake, words):
    text = explained(monkeypatch, mistake)
    assert not [word for word in words if word not in text]


def explained(monkeypatch, mistake):
    """What is said about a command line whose config cannot be trained."""
    monkeypatch.setattr(sys, "argv", ["launch.py", mistake])
    with pytest.raises(Exception) as caught:
        check_training(composed(mistake))
    text = explain(caught.value)
    assert text is not None
    assert "\n" not in text
    return text
