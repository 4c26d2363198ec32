"""What many tests share: real configs, composed as the command line would, on tiny streets."""

from __future__ import annotations

import gc
import time
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests import early
from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.schema import register
from uda_hydra.settings import EvaluationSettings

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
SMALL = (
    "dataset.height=64",
    "dataset.counts={source: 6, target: 6, validation: 3}",
    "dataset.source.size=[96,64]",
    "dataset.source.validation_count=2",
    "dataset.target.size=[96,48]",
    "trainer.batch_size=2",
    "trainer.device=cpu",
    "trainer.threads=1",
    "dataset.cache=false",
    "tracking=none",
    "callbacks=none",
)
"""Overrides that make a training take seconds."""


def choices(group: str) -> list[str]:
    """Every option of a config group, those in its folders included."""
    folder = CONF / group
    return sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml"))


GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()} | {"sweep"}


def composed(*overrides: str, with_hydra: bool = False):
    """The config as ``python launch.py <overrides>`` gets it.

    Values are put into a copy of what the groups compose to, as Hydra does it, in a hundredth of
    the time. A mistake is left to Hydra's own way.
    """
    if with_hydra:
        return deepcopy(_composed(overrides, with_hydra))
    try:
        parsed = OverridesParser.create().parse_overrides([*overrides])
        chosen = [o for o in parsed if o.key_or_group in GROUPS or "/" in o.key_or_group]
        config = deepcopy(_composed(tuple(o.input_line for o in chosen), with_hydra))
        values = [o for o in parsed if o not in chosen]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
    except HydraException:
        return _composed(overrides, with_hydra)
    return config


@lru_cache(maxsize=256)
def _composed(overrides: tuple[str, ...], with_hydra: bool):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides], return_hydra_config=with_hydra)


def protocol(name: str, *overrides: str) -> EvaluationSettings:
    """An evaluation protocol as its preset, or what the overrides make of it."""
    return settings(composed(f"evaluation={name}", *overrides).evaluation)


def stages_of(path: Path) -> dict[str, list[str]]:
    """The list of stages in a file of conf/, as it is written."""
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False).get("stages", {})


STAGES = {name: stages_of(CONF / f"method/{name}.yaml") for name in choices("method")}
"""The stages of every method, none of one that is one training."""

METHODS = [name for name, stages in STAGES.items() if not stages]
"""Every method that is one training; the others list such ones."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How ``pytest -m attack`` attacks."""
    group = parser.getgroup("attack")
    group.addoption(
        "--attack-seed", type=int, default=time.time_ns(), help="repeats an attack (default: new)"
    )
    group.addoption("--attack-count", type=int, default=100, help="kills of an attack")


def pytest_collection_finish() -> None:
    """Trainings follow."""
    early.collected()


def pytest_unconfigure() -> None:
    """What is frozen when the process ends counts as leaked."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> object:
    """A signal that no test sends is one to the test run, such as that of ``timeout``: it ends."""
    try:
        return (yield)
    except Interrupted as error:
        pytest.exit(f"{error}, during {item.nodeid}", returncode=error.exit_code)


@pytest.fixture(scope="session")
def streets(tmp_path_factory):
    """Folder where generated scenes are kept while the tests run."""
    return tmp_path_factory.mktemp("streets")


@pytest.fixture(scope="session")
def data(streets):
    """Where the scenes and the decoded images of trainings are, for the command line."""
    return (f"dataset.root={streets}", f"dataset.cache_folder={streets}/cache")


@pytest.fixture
def make_trainer(streets, tmp_path):
    """A trainer as ``launch.py`` builds it: ``make_trainer("method=source_only")``."""

    def make(*overrides: str, folder: Path = tmp_path, callbacks=(), pair=None):
        config = composed(*SMALL, f"dataset.root={streets}", *overrides)
        pair = pair or build.pair(config)
        folder.mkdir(parents=True, exist_ok=True)
        return build.trainer(config, pair, folder, list(callbacks))

    return make


@pytest.fixture(scope="session")
def untrained(streets, tmp_path_factory):
    """A trainer of source-only before its first step, whose checkpoint is saved; only read it."""
    config = composed(*SMALL, f"dataset.root={streets}", "method=source_only")
    trainer = build.trainer(config, build.pair(config), tmp_path_factory.mktemp("untrained"), [])
    trainer.save()
    return trainer


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: threads cost more than they bring, and the tests run side by side."""
    torch.set_num_threads(1)
    # What a test draws without a seed of its own is the same in every run.
    torch.manual_seed(0)
