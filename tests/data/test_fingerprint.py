"""The fingerprint of a data set follows its files, its names and its classes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from layouts import gta5_folder, write_image

from tests.conftest import SMALL, composed
from uda_hydra import build
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA16
from uda_hydra.data.readers.gta5 import gta5


@pytest.fixture
def root(tmp_path):
    return gta5_folder(tmp_path / "GTA5", [1, 2, 3])


def fingerprint(root, *, labelled=True, content=False, space=CITYSCAPES19, **more):
    return gta5(root, label_space=space, labelled=labelled, **more).fingerprint(content=content)


def test_it_notices_what_changes(root):
    first = fingerprint(root)
    assert fingerprint(root) == first
    assert fingerprint(root, space=SYNTHIA16) != first
    assert fingerprint(root, labelled=False) == fingerprint(root, labelled=False, space=SYNTHIA16)
    unlabelled = fingerprint(root, labelled=False)
    label = root / "labels/00002.png"
    os.utime(label, ns=(0, 0))
    edited = fingerprint(root)
    assert edited != first
    # Labels count only where they are read.
    assert fingerprint(root, labelled=False) == unlabelled
    (root / "images/00003.png").unlink()
    label.with_name("00003.png").unlink()
    assert fingerprint(root) != edited


def test_a_list_file_counts_by_what_it_chooses(root, tmp_path):
    first = fingerprint(root)
    file = tmp_path / "list.txt"
    file.write_text("1\n2\n3\n")
    assert fingerprint(root, list_file=file) == first
    file.write_text("1\n3\n")
    assert fingerprint(root, list_file=file) != first


def test_content_knows_a_copy_and_a_changed_file_of_equal_size_and_time(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    assert fingerprint(root) != fingerprint(tmp_path / "copy")
    first = fingerprint(root, content=True)
    assert fingerprint(tmp_path / "copy", content=True) == first
    write_image(root / "images/00001.png", 7)
    assert fingerprint(root, content=True) != first


def test_generated_scenes_are_known_by_their_recipe(root, streets, tmp_path):
    config = composed(*SMALL, f"dataset.root={streets}")
    first = build.pair(config).fingerprint()
    assert set(first) == {"source", "target", "validation", "source_validation"}
    for file in streets.rglob("*.png"):
        os.utime(file, ns=(0, 0))
    assert build.pair(config).fingerprint() == first
    other = build.pair(composed(*SMALL, f"dataset.root={streets}", "dataset.gap.look=0.5"))
    assert not {*other.fingerprint().values()} & {*first.values()}
    images = gta5(root, label_space=CITYSCAPES19)
    assert replace(images, generated="a").fingerprint() != images.fingerprint()
