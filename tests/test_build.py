"""From config nodes to objects, and what must never become one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT, SMALL, composed
from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.engine.device import THREADS, configure, find_device, without_memory
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_training
from uda_hydra.runs.identity import identity
from uda_hydra.signature import check_signature


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "uda_hydra.build.build",
        "uda_hydra.engine.trainer.Trainer",
        "uda_hydra.data.pairs.os.system",
        "uda_hydra.data.pairs.gta5",  # imported there, defined elsewhere
        "uda_hydra.models.initialization.torch.load",
        "uda_hydra.models.initialization.pickle",
        "uda_hydra.data.pairs._pair",
        "uda_hydra.models.nothing.here",
        "uda_hydra.datasets.anything",
        "",
    ],
)
def test_a_config_cannot_name_what_it_may_not_build(target):
    with pytest.raises(UserError, match="names nothing that a config may build"):
        build.locate(target, "model")


def test_what_the_presets_name_is_found():
    for group in ("model", "method", "dataset"):
        target = composed()[group]._target_
        assert build.locate(target, group).__name__ == target.rpartition(".")[2]


def sample(
    *,
    size: int,
    rate: float,
    name: str | None,
    flag: bool = False,
    sides: tuple[int, int] | None = None,
) -> None:
    """Stands for anything that a config builds."""


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"size": 1, "rate": 1, "name": None}, None),
        ({"size": 1, "rate": 0.5, "name": "a", "flag": True}, None),
        ({"size": 1, "rate": 1.0}, r"thing.name is missing"),
        (
            {"size": 1, "rate": 1.0, "name": None, "sise": 2},
            "no key thing.sise; did you mean size",
        ),
        ({"size": 1.5, "rate": 1.0, "name": None}, r"thing.size must be a whole number, got 1.5"),
        ({"size": True, "rate": 1.0, "name": None}, r"thing.size must be a whole number, got True"),
        ({"size": 1, "rate": "fast", "name": None}, r"thing.rate must be a number, got 'fast'"),
        ({"size": 1, "rate": 1.0, "name": 3}, r"thing.name must be a text or null, got 3"),
        (
            {"size": 1, "rate": 1.0, "name": None, "flag": 1},
            r"thing.flag must be true or false, got 1",
        ),
        (
            {"size": 1, "rate": 1.0, "name": None, "sides": [96.5, 48]},
            r"thing.sides must be a list, .*\[<a whole number>, ...\].* or null, got \[96.5, 48\]",
        ),
    ],
)
def test_a_signature_is_a_schema(values, complaint):
    if complaint is None:
        check_signature(sample, values, "thing")
        return
    with pytest.raises(UserError, match=complaint):
        check_signature(sample, values, "thing")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("cuda:77", "is not available"), ("tpu", "not a valid device"), ("mps", "not a valid device")],
)
def test_a_device_that_is_not_there_is_an_error(name, complaint):
    with pytest.raises(UserError, match=rf"trainer.device={name}.*{complaint}"):
        find_device(name)


def test_the_seed_decides_the_first_weights(streets):
    def network(seed):
        return build.segmenter(composed(*SMALL, f"seed={seed}")).state_dict()

    one, same, other = network(1), network(1), network(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.conv1.weight"], other["backbone.conv1.weight"])


def test_the_gate_waits_only_for_classes_that_the_source_shows(make_trainer):
    streets_pair = make_trainer("method=caco/contrast")
    streets_pair.prepare()
    assert streets_pair.method.queue.counted[[9, 14]].all()
    synthia = make_trainer(
        "method=caco/contrast",
        "dataset.source.layout=synthia",
        "+dataset.counts.synthia=3",
    )
    synthia.prepare()
    counted = synthia.method.queue.counted
    assert counted.any() and not counted[[9, 14, 16]].any()


def test_the_oracle_trains_on_the_labelled_target(make_trainer):
    oracle = make_trainer("method=source_only", "dataset.oracle=true").pair
    plain = make_trainer("method=source_only").pair
    assert oracle.source.keys == oracle.target.keys == plain.target.keys
    assert plain.source.keys != oracle.source.keys
    assert oracle.oracle
    assert not plain.oracle


def test_threads_are_those_of_the_config(make_trainer):
    make_trainer("method=source_only", "trainer.threads=2")
    assert torch.get_num_threads() == 2
    configure(settings(composed("trainer.threads=null").trainer))
    assert torch.get_num_threads() == THREADS
    assert identity(composed("trainer.threads=3")) != identity(composed("trainer.threads=2"))


def test_threads_wait_passively_unless_the_user_says_otherwise():
    code = "import os, uda_hydra; print(os.environ['OMP_WAIT_POLICY'])"
    for own, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        left = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=left | own, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("callbacks.pictures=null", r"callbacks\.pictures has no _target_"),
        ("+callbacks.pictures.evry=3", r"there is no key callbacks\.pictures\.evry"),
        ("objective=3", "objective must name a score"),
        ("objective=miou", "did you mean miou/last?"),
        ("dataset=folders", "dataset.classes is not set; give a YAML file"),
    ],
)
def test_what_is_wrong_is_known_before_the_data_are_touched(mistake, message):
    with pytest.raises(UserError, match=message):
        check_training(composed(mistake))


def test_nothing_is_drawn_and_no_memory_taken_to_check_a_config():
    state = torch.random.get_rng_state()
    with without_memory():
        config = composed("model=advent_resnet101")
        network = build.build(config.model, "model", num_classes=19)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("cfcontra/contrast", "centres"),
        ("proca/adapt", "prototypes"),
        ("proda/denoise", "prototypes"),
        ("proda/distil", "teacher"),
        ("fda/adapt", "teachers"),
        *((name, "labels") for name in ("caco/retrain", "caco_proda/warmup", "proca/ssl")),
        ("seg_uncertainty/rectify", "labels"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_built(method, key):
    value = "[nowhere]" if key == "teachers" else "nowhere"
    with pytest.raises(UserError, match=rf"method\.{key}=nowhere: there is no such (file|folder)"):
        check_training(composed(f"method={method}", f"method.{key}={value}"))


@pytest.mark.parametrize(
    ("lines", "fits"),
    [
        (["method=daformer"], "augmentation.crop=[96,48]"),
        (["augmentation=random_crop"], "augmentation.scale_range=[2.0,11.0]"),
        (["augmentation=mined_crop"], "augmentation.crop=[64,32]"),
        (["method=proda/denoise", "method.prototypes=x"], "augmentation.width=1200"),
    ],
)
def test_a_crop_that_no_image_fills_is_refused(lines, fits):
    sizes = ["dataset.source.size=[128,64]", "dataset.target.size=[96,48]"]
    crop = ["augmentation.crop=[1024,512]"]
    with pytest.raises(UserError, match=r"augmentation\.crop=\[1024, 512\] is larger than what it"):
        check_training(composed(*SMALL, *lines, *sizes, *crop))
    try:
        check_training(composed(*SMALL, *lines, *sizes, *crop, fits))
    except UserError as error:
        assert "crop" not in str(error)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["method=adaptsegnet", "extra=mixed"], r"another size: these are 96 x 64 and 96 x 48\."),
        (
            ["method=dacs", "augmentation=none", "augmentation.crop=null"],
            r"another size: these are 96 x 64 and 96 x 48\.",
        ),
        (
            ["method=adaptsegnet", "extra=masked", "extra.mask_ratio=1.5"],
            r"^extra\.mask_ratio must",
        ),
    ],
)
def test_what_a_class_mix_cannot_do_is_known_before_the_training(lines, message):
    with pytest.raises(UserError, match=message):
        check_training(composed(*SMALL, *lines))
    fits = ["augmentation.crop=[64,32]", "augmentation.scale_range=[1.0,1.5]"]
    mixed = ["method=adaptsegnet", "extra=mixed", "augmentation=random_crop"]
    check_training(composed(*SMALL, *mixed, *fits))
