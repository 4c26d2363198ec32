"""Every file in conf and sweeps composes, and says what it is."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hydra import initialize_config_dir

from tests.conftest import CONF, METHODS, ROOT, STAGES, choices, composed
from tests.studies.test_spec import spec_of
from uda_hydra import build
from uda_hydra.augment.warp import warp
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError
from uda_hydra.published import check_name
from uda_hydra.runs import checks
from uda_hydra.runs.checks import check_training
from uda_hydra.types import IGNORE

# What is adjusted comes with a method and a data set, never alone; hydra is its own; methods are
# composed below.
GROUPS = sorted(
    {path.name for path in CONF.iterdir() if path.is_dir()} - {"adjusted", "hydra", "method"}
)
NETWORKS = {"mic/dinov2": ["model=dinov2_tiny"]}
"""Networks of the methods that need one of their own."""


def together() -> list[list[str]]:
    """Every option of every group at least once: the first ones, the second ones, ..."""
    options = {group: [f"{group}={option}" for option in choices(group)] for group in GROUPS}
    rows = range(max(map(len, options.values())))
    return [[own[row % len(own)] for own in options.values()] for row in rows]


@pytest.mark.parametrize("options", together())
def test_every_option_composes(options):
    config = composed(*options)
    assert config.seed == 0


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_composes(path, monkeypatch):
    # A sweep of a sampler's keys needs task=scan, which reads data.
    monkeypatch.setattr(checks, "check_scan", lambda path: None)
    title, command = path.read_text().splitlines()[:2]
    assert title.endswith("?")
    assert f"python launch.py sweep={path.stem}" in command
    asks = spec_of(*command.removeprefix("# python launch.py").split("  ")[0].split())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        asks.check()
    space = asks.design.space
    assert [*asks.objectives] == ["miou/last"] or len(asks.objectives) == 2
    assert space.reference is not None
    points = space.points() if space.listed else [space.reference]
    for point in (points[0], points[-1]):
        check_training(composed(*asks.fixed, *(f"{key}={value}" for key, value in point.items())))


def test_every_stage_that_names_published_rows_has_some():
    names = [o for stages in STAGES.values() for own in stages.values() for o in own]
    names = [o.removeprefix("published=") for o in names if o.startswith("published=")]
    assert "proca" in names
    for name in names:
        check_name(name)


@pytest.mark.parametrize(
    "method", [name for name in STAGES if "/" not in name or name == "caco/contrast"]
)
def test_joint_and_threshold_fit_every_method_that_has_the_keys(method):
    adapting = [key for key in composed(f"method={method}").loss if key[7:8] != "s"]
    try:
        swept = [*spec_of("sweep=joint", f"method={method}").design.space.written]
    except UserError as error:
        assert f"method={method} has no loss.lambda_adv" in str(error)
        swept = []
    assert bool(adapting) == bool(swept and swept[0].removeprefix("loss.") in adapting)
    if method in ("caco", "caco/contrast"):
        assert swept[1:] == ["method.key_threshold", "method.temperature"]
        assert [*spec_of("sweep=threshold", f"method={method}").design.space.written] == swept[1:2]


def test_every_file_opens_with_what_it_is():
    faults = []
    for path in sorted(CONF.rglob("*.yaml")):
        lines = path.read_text().splitlines()
        first = next(line for line in lines if not line.startswith("# @package"))
        if not (first.startswith("# ") or path.parent.name == "task" or first == "{}"):
            faults.append(str(path.relative_to(CONF)))
    assert not faults


FILES = {"streets": ((256, 141), (256, 128)), "idda2camvid": ((492, 240), (320, 240))}
"""Sizes of the source's and of the target's images."""


@pytest.mark.parametrize("dataset", FILES)
def test_at_the_small_scale_no_view_is_padded(dataset):
    configs = {}
    for method in METHODS:
        config = composed(f"dataset={dataset}", f"method={method}")
        configs[str(config.augmentation)] = method, config
    padded = set()
    for method, config in configs.values():
        views, random = build.build(config.augmentation, "augmentation"), Random(0)
        for part, file in zip(("source", "target"), FILES[dataset], strict=True):
            size = tuple(config.dataset[part].size)
            width, height = file if part in views.from_file else size
            image = torch.full((3, height, width), 255, dtype=torch.uint8)
            label = torch.zeros(height, width, dtype=torch.uint8)
            for _ in range(20):
                if part == "source":
                    seen = views.source(image, label, size, random).label
                else:
                    seen = warp(label, views.target(image, size, random).view, kind="label")
                if (seen == IGNORE).any():
                    padded.add((method, part))
    assert not padded


@pytest.mark.parametrize("method", ["daformer", "hrda", "mic/daformer", "mic/dinov2"])
def test_only_cityscapes_has_the_margins_of_its_car(method):
    def margins(dataset: str) -> object:
        return composed(f"dataset={dataset}", f"method={method}", "scale=paper").method.margins

    known = ("gta2city", "synthia2city", "synthia2city_maxsquare", "city2city")
    assert all(margins(dataset) is not None for dataset in known)
    assert {margins(dataset) for dataset in ("idda2camvid", "streets", "folders")} == {None}


@pytest.mark.parametrize("method", METHODS)
def test_loss_keys_and_terms_agree_and_the_signature_is_the_schema(method):
    check_training(composed(f"method={method}", *NETWORKS.get(method, [])))
    # A small pair sets how views of any kind are cropped and mirrored.
    build.build(composed(f"method={method}", "dataset=idda2camvid").augmentation, "augmentation")


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name not in NETWORKS])
def test_every_method_trains_logits_that_are_finer_than_the_features(make_trainer, method):
    trainer = make_trainer(f"method={method}", "model=lite0", "init=null", "trainer.steps=1")
    trainer.prepare()
    trainer.fit(Run("one", trainer.folder, steps=1, start=0, config={}))
    assert trainer.done == 1
