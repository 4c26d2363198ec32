"""Every file in conf and sweeps composes, and says what it is."""

from __future__ import annotations

import pytest

from tests.conftest import CONF, METHODS, ROOT, choices, composed
from uda_hydra import build
from uda_hydra.engine.events import Run

# What is adjusted comes with a method and a data set, never alone.
GROUPS = sorted({path.name for path in CONF.iterdir() if path.is_dir()} - {"adjusted"})
OPTIONS = [(group, option) for group in GROUPS for option in choices(group)]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group, option):
    config = composed(f"{group}={option}")
    assert config.seed == 0


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_composes(path):
    question, command = path.read_text().splitlines()[:2]
    assert question.endswith("?")
    assert f"python launch.py sweep={path.stem}" in command
    swept = composed(f"sweep={path.stem}", with_hydra=True).hydra.sweeper.params
    for key, values in swept.items():
        for value in str(values).split(","):
            build.check(composed(f"sweep={path.stem}", f"{key}={value}"))


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_every_file_opens_with_what_it_is(path):
    first = path.read_text().splitlines()
    first = [line for line in first if not line.startswith("# @package")]
    assert first[0].startswith("# ") or path.parent.name in ("task",) or first[0] == "{}"


@pytest.mark.parametrize("method", METHODS)
def test_loss_keys_and_terms_agree_and_the_signature_is_the_schema(method):
    build.check(composed(f"method={method}"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_two_steps_on_streets(make_trainer, method):
    trainer = make_trainer(f"method={method}", "trainer.steps=2")
    trainer.fit(Run("two", trainer.folder, steps=2, start=0, config={}))
    assert trainer.done == 2
    assert 0 <= trainer.last.miou <= 1
