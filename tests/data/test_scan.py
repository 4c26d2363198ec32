import json
from dataclasses import replace

import numpy as np
import pytest
from layouts import SIZE, gta5_folder, synthia_folder, write_palette_label

from uda_hydra.data import check
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA16
from uda_hydra.data.readers import UnreadableFile
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.readers.synthia import synthia
from uda_hydra.data.scan import Statistics, scan


@pytest.fixture
def five(tmp_path):
    return gta5(gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5]), label_space=CITYSCAPES19)


def test_pixels_by_hand(five):
    """Each label has 20 pixels of road (7), and one each of 0, 33 (bicycle), 34, 26 (car)."""
    write_palette_label(five.samples[1].label, np.full(SIZE, 26, np.uint8))
    found = scan(five, workers=0)
    expected = np.zeros((5, 19), int)
    expected[:, [0, 13, 18]] = 20, 1, 1
    expected[1] = np.eye(19)[13] * 24
    assert np.array_equal(found.pixels, expected)
    assert found.files[1] == ("labels/00002.png", five.samples[1].label.stat().st_size)
    assert found.frequency[[0, 13, 18]].tolist() == pytest.approx([80 / 112, 28 / 112, 4 / 112])
    assert found.holding()[1].nonzero()[0].tolist() == [13]
    assert found.holding(20)[:, 13].tolist() == [False, True, False, False, False]


def test_synthia_is_counted_in_sixteen_classes(tmp_path):
    images = synthia(synthia_folder(tmp_path, [0, 1]), label_space=SYNTHIA16)
    found = scan(images, workers=0)
    # Road (3), then wall (21) and bicycle (11); void (0) and lane marking (22) are left out.
    assert found.pixels[0].nonzero()[0].tolist() == [0, 3, 15]
    assert found.pixels[0][[0, 3, 15]].tolist() == [20, 1, 1]


def test_processes_find_the_same(five):
    assert np.array_equal(scan(five, workers=2).pixels, scan(five, workers=0).pixels)


def test_it_comes_back_from_its_text(five):
    found = scan(five, workers=0)
    again = Statistics.from_json(found.to_json())
    assert (again.name, again.classes, again.files) == ("GTA5", five.label_space.names, found.files)
    assert np.array_equal(again.pixels, found.pixels)
    assert json.loads(found.to_json())["files"]["labels/00001.png"]["pixels"][0] == 20
    assert again.of(five).files == found.files
    road, *others = found.raw_ids
    with pytest.raises(ValueError, match="other label values for a class"):
        replace(again, raw_ids=((*road, 33), *others)).of(five)


def test_images_are_not_opened_and_broken_labels_are_told(five):
    five.samples[0].image.write_text("nonsense")
    scan(five, workers=0)
    for number in (2, 4):
        five.samples[number].label.write_text("nonsense")
    with pytest.raises(UnreadableFile, match=r"00003.png .* and 1 more"):
        scan(five, workers=0)


def test_what_was_counted_is_not_read_again(five, tmp_path, monkeypatch):
    journal = tmp_path / "journal.jsonl"
    five.samples[4].label.rename(tmp_path / "away.png")
    with pytest.raises(UnreadableFile):
        scan(five, workers=0, journal=journal)
    (tmp_path / "away.png").rename(five.samples[4].label)
    calls = []
    scan(five, workers=0, journal=journal, progress=lambda *call: calls.append(call))
    assert calls == [(4, 5), (5, 5)]
    monkeypatch.setattr(check, "_examine_all", lambda images, samples, *rest: iter(samples[:0]))
    scan(five, workers=0, journal=journal)


def test_statistics_follow_the_samples_and_notice_changes(five):
    found = scan(five, workers=0)
    chosen = replace(five, samples=[five.samples[3], five.samples[0]])
    assert [name for name, _ in found.of(chosen).files] == ["labels/00004.png", "labels/00001.png"]
    with pytest.raises(ValueError, match=r"other classes.*task=scan"):
        found.of(replace(five, label_space=SYNTHIA16))
    write_palette_label(five.samples[0].label, np.full((9, 9), 7, np.uint8))
    with pytest.raises(ValueError, match=r"1 label files .* labels/00001.png.*task=scan"):
        found.of(chosen)


def test_a_set_without_labels_cannot_be_counted(tmp_path):
    root = gta5_folder(tmp_path / "GTA5", [1])
    with pytest.raises(ValueError, match="nothing to count"):
        scan(gta5(root, label_space=CITYSCAPES19, labelled=False), workers=0)
