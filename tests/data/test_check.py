import json
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from layouts import SIZE, cityscapes_folder, gta5_folder, write_image, write_palette_label

from uda_hydra.data import pool
from uda_hydra.data.check import check
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.errors import UserError


@pytest.fixture
def five(tmp_path):
    return gta5(gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5]), label_space=CITYSCAPES19)


def test_counts_by_hand(five):
    """Each label has 20 pixels of road (7), and one each of 0, 33 (bicycle), 34, 26 (car)."""
    report = check(five, workers=0)
    assert report.ok
    assert report.pixels == {7: 100, 0: 5, 33: 5, 34: 5, 26: 5}
    assert report.shares[[0, 18, 13, 255, 1]].tolist() == pytest.approx(
        [100 / 120, 5 / 120, 5 / 120, 10 / 120, 0]
    )
    for line in ("images          5", "4x6 (5)", "0, 7, 26, 33, 34", "road           83.333 %"):
        assert line in report.text()


def test_processes_find_the_same(five):
    assert check(five, workers=2).facts == check(five, workers=0).facts


def test_a_killed_process_names_what_needs_less_memory(five, monkeypatch):
    class Killed(ProcessPoolExecutor):
        def map(self, *_, **__):
            raise BrokenProcessPool

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Killed)
    with pytest.raises(UserError, match=r"use fewer at once \(trainer\.workers=0\)"):
        check(five, workers=2)
    with pytest.raises(UserError, match=r"use fewer at once \(taskset"):
        [*pool.shared_out(len, [[]], workers=pool.cores() + 1)]


def test_broken_files_are_named_and_the_others_still_counted(five):
    five.samples[1].image.write_bytes(five.samples[1].image.read_bytes()[:-9])
    five.samples[3].label.write_text("nonsense")
    report = check(five, workers=0)
    assert not report.ok
    assert len(report.broken) == 2
    assert "images/00002.png is cut short" in report.text()
    assert "labels/00004.png cannot be decoded" in report.text()
    # The label beside a broken image counts all the same.
    assert report.pixels[7] == 80
    assert "other size      none" in report.text()


def test_a_sample_may_be_broken_twice(five):
    five.samples[0].image.write_text("nonsense")
    five.samples[0].label.unlink()
    assert [message.split()[0][-16:] for message in check(five, workers=0).broken] == [
        "images/00001.png",
        "labels/00001.png",
    ]


def test_undocumented_ids_are_told_with_their_files(five):
    write_palette_label(five.samples[2].label, np.full(SIZE, 40, np.uint8))
    report = check(five, workers=0)
    assert report.without_class == {40: ["00003"]}
    assert not report.ok
    assert "40: 24 pixels (20.000 %), ignored, in 1: 00003" in report.text()


def test_a_label_of_another_size_is_told_and_harmless(five):
    write_palette_label(five.samples[0].label, np.full((5, 4), 7, np.uint8))
    report = check(five, workers=0)
    assert report.ok
    assert "label sizes     4x6 (4), 4x5 (1)" in report.text()
    assert "other size      1: 00001" in report.text()


def test_without_labels_images_are_checked_alone(tmp_path):
    cityscapes_folder(tmp_path, "train", ["ulm_000000_000019"])
    report = check(
        cityscapes(tmp_path, label_space=CITYSCAPES19, split="train", labelled=False), workers=0
    )
    assert report.ok
    assert not report.pixels
    assert np.isnan(report.shares).all()
    assert "none opened" in report.text()


class Stop(Exception):
    pass


def test_an_interrupted_check_goes_on_where_it_stopped(five, tmp_path):
    journal = tmp_path / "state" / "journal.jsonl"

    def stop_at_three(done, total):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        check(five, workers=0, journal=journal, progress=stop_at_three)
    calls = []
    report = check(five, workers=0, journal=journal, progress=lambda *call: calls.append(call))
    assert report.remembered == 3
    assert calls == [(3, 5), (4, 5), (5, 5)]
    assert report.facts == check(five, workers=0).facts


def test_a_torn_journal_costs_its_last_line_only(five, tmp_path):
    journal = tmp_path / "journal.jsonl"
    check(five, workers=0, journal=journal)
    journal.write_text(journal.read_text()[:-10])
    assert check(five, workers=0, journal=journal).remembered == 4
    assert check(five, workers=0, journal=journal).remembered == 5
    entry = json.loads(journal.read_text().splitlines()[1])
    assert entry["state"].startswith(f"GTA5 {five.samples[0].image} ")


def test_broken_files_are_never_remembered(five, tmp_path):
    journal = tmp_path / "journal.jsonl"
    five.samples[4].image.write_text("nonsense")
    for remembered in (0, 4):
        report = check(five, workers=0, journal=journal)
        assert (report.remembered, len(report.broken)) == (remembered, 1)
    write_image(five.samples[4].image, seed=9)
    assert check(five, workers=0, journal=journal).ok


def test_changed_files_are_read_again(five, tmp_path):
    journal = tmp_path / "journal.jsonl"
    check(five, workers=0, journal=journal)
    write_palette_label(five.samples[0].label, np.full((9, 9), 7, np.uint8))
    # The same number of bytes at another time is another file.
    os.utime(five.samples[1].image, ns=(0, 0))
    report = check(five, workers=0, journal=journal)
    assert report.remembered == 3
    assert report.facts["00001"].label == "9x9"


def test_classes_that_no_label_shows_are_named(five):
    report = check(five, workers=0)
    assert {"sidewalk", "train"} <= {*report.never_shown}
    assert not {"road", "bicycle", "car"} & {*report.never_shown}


def test_labels_of_other_data_are_unfit(five):
    for sample in five.samples:
        write_palette_label(sample.label, np.zeros(SIZE, np.uint8))
    report = check(five, workers=0)
    assert not report.ok
    assert "no pixel belongs to a class" in report.text()


def test_a_file_name_cannot_command_the_terminal(five):
    name = "a\x1b[2Jb\nc.png"
    five.samples[0] = five.samples[0]._replace(image=five.samples[0].image.with_name(name))
    text = check(five, workers=0).text()
    assert r"a\x1b[2Jb\nc.png cannot be read" in text
    assert "\x1b" not in text
