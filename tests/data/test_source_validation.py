"""Held-out source images: which they are, and that none of them is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import SIZE, cityscapes_folder, gta5_folder

from tests.conftest import SMALL, composed
from uda_hydra import build
from uda_hydra.data.pairs import from_disk
from uda_hydra.data.readers.gta5_split import official_split
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_objective


def gta(tmp_path: Path, **source: object):
    """GTA5 with the first images of the official training and validation splits."""
    numbers = [n for n, name in enumerate(official_split(), 1) if name in ("train", "val")][:40]
    if not (tmp_path / "GTA5").exists():
        gta5_folder(tmp_path / "GTA5", numbers)
        for split in ("train", "val"):
            cityscapes_folder(tmp_path / "C", split, ["ulm_000000_000019"])
    domain = {"layout": "gta5", "root": tmp_path / "GTA5", "split": "train", "size": [3, 2]}
    target = {"layout": "cityscapes", "root": tmp_path / "C", "split": "train", "size": [4, 2]}
    return from_disk(
        name="pair",
        classes=source.pop("classes", "cityscapes19"),
        oracle=source.pop("oracle", False),
        cache=False,
        cache_folder="",
        source=domain | source,
        target=target | {"validation": "val"},
    )


def test_the_official_split_is_held_out(tmp_path):
    pair = gta(tmp_path, validation="val")
    official = official_split()
    held_out = pair.source_validation.images.keys
    assert held_out and {official[int(key) - 1] for key in held_out} == {"val"}
    assert not {*held_out} & {*pair.source.keys}
    one = next(pair.source_validation.stream(workers=0))
    assert one.image.shape == (3, 2, 3)  # the source's training size, not the target's
    assert one.label.shape == SIZE


def test_a_count_takes_images_evenly(tmp_path):
    every = gta(tmp_path, validation="val").source_validation.images.keys
    some = gta(tmp_path, validation="val", validation_count=3).source_validation.images.keys
    assert some == tuple(every[i * len(every) // 3] for i in range(3))
    more = gta(tmp_path, validation="val", validation_count=1000).source_validation.images.keys
    assert more == every


def test_what_is_trained_on_cannot_be_held_out(tmp_path):
    with pytest.raises(ValueError, match=r"trains on .*\.split=train with .*\.validation=val"):
        gta(tmp_path, split="all", validation="val")


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        (["dataset.oracle=true", "dataset.target.split=val"], "target"),
        (["dataset.source.layout=cityscapes", "dataset.source.split=val"], "source"),
    ],
)
def test_no_scored_image_is_trained_on_with_its_label(streets, overrides, trained):
    said = rf"dataset\.{trained} trains on \d+ of the \d+ labelled images that dataset\.target\."
    with pytest.raises(UserError, match=said):
        opened(streets, *overrides)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_scored_image_is_known_by_another_name_too(tmp_path, link):
    gta(tmp_path)
    (scored,) = (tmp_path / "C/leftImg8bit/val").rglob("*.png")
    trained = next((tmp_path / "GTA5/images").glob("*.png"))
    trained.unlink()
    getattr(trained, link)(scored)
    with pytest.raises(ValueError, match=r"source trains on 1 of the 1 labelled images"):
        gta(tmp_path, split="all")


def test_by_default_and_for_an_upper_bound_there_is_none(tmp_path):
    assert gta(tmp_path).source_validation is None
    assert gta(tmp_path, validation="val", oracle=True).source_validation is None


def test_a_count_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match=r"dataset.source.validation_count=0"):
        gta(tmp_path, validation="val", validation_count=0)


def opened(streets: Path, *overrides: str):
    return build.pair(composed(*SMALL, f"dataset.root={streets}", *overrides))


@pytest.mark.parametrize("dataset", ["streets", "streets_synthia2city"])
def test_streets_draw_other_scenes_and_leave_the_training_data_alone(streets, dataset):
    counts = "dataset.counts={synthia: 6}" if "synthia" in dataset else "dataset.counts={}"
    with_them = opened(streets, f"dataset={dataset}", counts)
    without = opened(streets, f"dataset={dataset}", counts, "dataset.source.validation=null")
    assert without.source_validation is None
    assert with_them.source.images.root == without.source.images.root
    assert with_them.fingerprint().items() > without.fingerprint().items()
    held_out = with_them.source_validation
    assert len(held_out) == 2
    assert held_out.images.size == with_them.source.size
    trained = {s.image.read_bytes() for s in with_them.source.images.samples}
    assert not trained & {s.image.read_bytes() for s in held_out.truth.samples}


def test_scenes_are_held_out_only_where_they_are_drawn(streets, tmp_path):
    gta5_folder(tmp_path / "GTA5", [1])
    own = f"dataset.source.root={tmp_path / 'GTA5'}"
    with pytest.raises(UserError, match=r"dataset.source.validation=held_out draws"):
        opened(streets, own, "dataset.source.validation=held_out")
    with pytest.raises(UserError, match=r"objective=miou/source_val needs"):
        check_objective(composed(*SMALL, own, "objective=miou/source_val"))


@pytest.mark.parametrize("part", ["target", "validation"])
def test_a_drawn_domain_has_images(streets, part):
    with pytest.raises(UserError, match=rf"^dataset.counts.{part} must be positive"):
        opened(streets, f"dataset.counts.{part}=0")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("+dataset.counts.targt=3", r"no key dataset\.counts\.targt; did you mean target"),
        (
            "dataset.target.layout=camvid",
            r"^dataset\.target\.layout=camvid cannot be drawn, as gta5",
        ),
        ("dataset.source.layout=idda", r"^dataset\.source\.layout=idda cannot be drawn, as gta5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(streets, line, complaint):
    with pytest.raises(UserError, match=complaint):
        opened(streets, line)


def test_a_default_that_cannot_hold_gives_way(streets, tmp_path, capsys):
    gta5_folder(tmp_path / "GTA5", [1])
    for split in ("train", "val"):
        cityscapes_folder(tmp_path / "C", split, ["ulm_000000_000019"])
    roots = (f"dataset.source.root={tmp_path / 'GTA5'}", f"dataset.target.root={tmp_path / 'C'}")
    assert opened(streets, *roots).source_validation is None
    assert "no source images are held out" in capsys.readouterr().out


def test_a_label_space_that_the_data_do_not_know_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "classes: [{name: cat, colour: '#000001'}, {name: dog, colour: '#000002'}]"
    )
    with pytest.raises(ValueError, match=r"GTA5 \(dataset.source\) has no class of x; it knows"):
        gta(tmp_path, classes=str(tmp_path / "x.yaml"))


def test_classes_may_be_merged(tmp_path):
    pair = gta(tmp_path, classes="camvid11")
    assert pair.source.images.shown == (*range(11),)
    # Row 0 of every label holds the ids 0, 33 (bicycle), 34 and 26 (car).
    assert pair.source.images.read_label(pair.source.images.samples[0])[0].tolist() == [
        *(255, 10, 255, 8)
    ]
