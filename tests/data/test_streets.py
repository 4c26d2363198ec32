"""The generator keeps its promises: pure images, official files, all or nothing, one knob."""

import math
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image

from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers import cityscapes, synthia
from uda_hydra.data.readers.image_set import class_table
from uda_hydra.data.streets import appearance, gap, generate, generator, ids, read_gap, sides
from uda_hydra.data.streets.generator import ImageJob, Recipe, render
from uda_hydra.data.streets.geometry import Camera, Face

GTA5, SYNTHIA, TRAIN, VAL = range(4)
SMALL = {"seed": 3, "height": 64, "source": 3, "synthia": 2, "target": 4, "validation": 4}
RAW = [raw for (raw,) in CITYSCAPES19.raw_ids(cityscapes.IDS)]
LUT = class_table(CITYSCAPES19.raw_ids(cityscapes.IDS), 256)


WHOLE, NONE = gap.Gap(), gap.Gap(0.0, 0.0, 0.0)


def recipe(at_gap: gap.Gap = WHOLE, height: int = 128, seed: int = 0) -> Recipe:
    return Recipe(seed, at_gap, height, 400, 400, 400, 100)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("streets"), workers=1, **SMALL)


# Geometry and the knob, by hand.


def test_camera_projects_by_hand():
    camera = Camera(focal=1.5, horizon=0.4, eye=1.2, x=1.0, bend=0.001)
    seen = camera.project(np.array([(1.0, 1.2, 10.0), (3.0, 0.0, 10.0)]))
    # The road drifts 0.001 * 10 * 10 = 0.1 m to the right at 10 m.
    assert seen == pytest.approx(np.array([(0.015, 0.4), (0.315, 0.58)]))
    assert camera.project(np.array([camera.before(0.3, 0.7)])) == pytest.approx(
        np.array([(0.3, 0.7)])
    )


def test_face_places_local_corners():
    shape = Face((1, 4), (1, 8)).rect(0.25, 1, 0, 2, ids.WALL, (1, 2, 3))
    assert shape.points == [(1, 0, 5), (1, 0, 8), (1, 2, 8), (1, 2, 5)]


def test_each_part_of_the_gap_moves_its_constants_in_a_straight_line(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(gap, "STRENGTH", gap.Gap(0.5, 0.5, 0.5))
    near, far = gap.NEUTRAL, gap._DOMAINS["GTA5"]
    same = gap.domain("GTA5", NONE)
    assert same[:3] == gap.domain("Cityscapes", NONE)[:3] == near[:3]
    assert {*same.tint.values(), *same.material.values()} == {(1.0, 1.0, 1.0)}
    half = gap.domain("GTA5", WHOLE)
    for part in ("look", "style", "families"):
        pairs = zip(*(getattr(each, part)[1:] for each in (near, far, half)), strict=True)
        assert all(middle == pytest.approx((a + b) / 2) for a, b, middle in pairs), part
    assert half.look.balance[2] == pytest.approx((near.look.balance[2] + far.look.balance[2]) / 2)
    assert half.tint[ids.SKY][0] == pytest.approx((1 + far.tint[ids.SKY][0]) / 2)
    assert half.material[ids.ROAD][0] == pytest.approx((1 + far.material[ids.ROAD][0]) / 2)
    layout = gap.domain("GTA5", gap.Gap(look=0.0, families=0.0))
    assert (layout.look, layout.families) == (near.look, near.families)
    assert layout.style == half.style
    assert min(gap.domain("GTA5", gap.Gap(look=100.0)).look[1:]) == 0.0
    with pytest.raises(ValueError, match=r"dataset\.gap\.layout"):
        gap.domain("GTA5", gap.Gap(layout=-0.1))


def test_families_decide_what_is_drawn():
    def colours(**changes: float) -> np.ndarray:
        rng, families = np.random.default_rng(0), gap.NEUTRAL.families._replace(**changes)
        trees = [sides.tree(rng, families, 0.0, 10.0) for _ in range(20)]
        return np.array([shape.colour for tree in trees for shape in tree[1:]])

    red, green, _ = colours(autumn=0.0).T
    assert (green > red).all()
    red, green, _ = colours(autumn=1.0).T
    assert (red > green).all()
    assert len(colours(conifers=1.0)) == 20 * 3 < len(colours(conifers=0.0)) == 20 * 5

    def top(**changes: float) -> float:
        families = gap.NEUTRAL.families._replace(**changes)
        house = sides.house(np.random.default_rng(0), families, 0.0, 5.0, 20.0, 1, 3)
        return max(y for shape in house for _, y, _ in shape.points)

    assert top(gabled=1.0) > top(gabled=0.0) + 1
    label = np.full((64, 64), ids.BUILDING, np.uint8)
    rows = appearance._pattern(label, gap.NEUTRAL.families._replace(courses=0.5, cobbles=0.0))
    assert rows.std() == pytest.approx(0.5 / 2**0.5, rel=0.05) and not np.ptp(rows, axis=1).any()
    assert not appearance._pattern(label, gap.NEUTRAL.families._replace(courses=0.0)).any()


# What is drawn.


def test_an_image_is_a_function_of_its_job_alone():
    image, raw = render(ImageJob(TRAIN, 5), recipe())
    again, raw_again = render(ImageJob(TRAIN, 5), recipe())
    assert np.array_equal(image, again) and np.array_equal(raw, raw_again)
    for other in (ImageJob(TRAIN, 6), ImageJob(VAL, 5)):
        assert not np.array_equal(raw, render(other, recipe())[1])
    assert not np.array_equal(raw, render(ImageJob(TRAIN, 5), recipe(seed=1))[1])


@pytest.mark.parametrize("part", [GTA5, TRAIN])
def test_classes_are_in_enough_images_and_as_frequent_as_in_streets(part: int):
    labels = (render(ImageJob(part, n), recipe())[1] for n in range(60))
    counts = np.stack([np.bincount(label.ravel(), minlength=256) for label in labels])
    seen = (counts[:, RAW] > 20).mean(axis=0)
    rare = {CITYSCAPES19.names[k]: share for k, share in enumerate(seen) if share < 0.08}
    assert not rare
    total = counts.sum(axis=0)
    share = dict(zip(CITYSCAPES19.names, total[RAW] / total.sum() * 100, strict=True))
    assert 0 < total[[ids.EGO_VEHICLE, ids.STATIC]].sum() < 0.1 * total.sum()
    assert 22 < share["road"] + total[ids.LANE_MARKING] / total.sum() * 100 < 45
    assert 12 < share["building"] < 33 and 6 < share["vegetation"] < 22
    assert 2 < share["car"] < 13 and 1.5 < share["sidewalk"] < 9 and 2 < share["sky"] < 15
    for name in ("wall", "fence", "pole", "traffic sign", "terrain", "person"):
        assert 0.2 < share[name] < 4, name
    for name in ("traffic light", "rider", "truck", "bus", "train", "motorcycle", "bicycle"):
        assert 0.04 < share[name] < 2, name


@pytest.mark.parametrize("part", [GTA5, SYNTHIA, TRAIN])
def test_a_larger_image_shows_the_same_street(part: int):
    image, raw = render(ImageJob(part, 1), recipe(height=128))
    large_image, large = render(ImageJob(part, 1), recipe(height=256))
    size = raw.shape[::-1]
    same = cv2.resize(large, size, interpolation=cv2.INTER_NEAREST) == raw
    assert same.mean() > 0.9
    difference = image.mean((0, 1)) - large_image.mean((0, 1))
    assert np.abs(difference).max() < 4


def test_gap_separates_what_is_alike_without_it():
    def distance(at_gap: gap.Gap) -> float:
        means = [
            np.mean(
                [render(ImageJob(p, n), recipe(at_gap, 64))[0].mean((0, 1)) for n in range(8)], 0
            )
            for p in (GTA5, TRAIN)
        ]
        return float(np.abs(means[0] - means[1]).max())

    assert distance(NONE) < 10
    assert distance(WHOLE) > 25


# What is written.


def test_gta5_files_are_palette_pngs_of_cityscapes_ids(small: Path):
    names = sorted(path.name for path in (small / "GTA5" / "images").iterdir())
    assert names == ["00001.png", "00002.png", "00003.png"]
    label = Image.open(small / "GTA5" / "labels" / "00002.png")
    index = np.array(label)
    assert label.mode == "P" and index.shape == (70, 128)
    _, raw = render(ImageJob(GTA5, 1), recipe(height=64, seed=3))
    assert np.array_equal(index, np.where(raw == ids.LANE_MARKING, ids.ROAD, raw))
    colours = np.array(label.convert("RGB"))
    valid = LUT[index] != 255
    assert np.array_equal(colours[valid], np.array(CITYSCAPES19.colours)[LUT[index[valid]]])
    assert index.max() <= 34


def test_synthia_files_are_16_bit_with_the_class_in_red(small: Path):
    names = sorted(path.name for path in (small / "SYNTHIA" / "RGB").iterdir())
    assert names == ["0000000.png", "0000001.png"]
    label = cv2.imread(str(small / "SYNTHIA/GT/LABELS/0000001.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint16 and label.shape == (76, 128, 3)
    blue, instance, red = label[..., 0], label[..., 1], label[..., 2]
    _, raw = render(ImageJob(SYNTHIA, 1), recipe(height=64, seed=3))
    lut = class_table(CITYSCAPES19.raw_ids(synthia.IDS), 256)
    assert np.array_equal(lut[red.astype(np.uint8)], LUT[raw])
    assert (red[raw == ids.LANE_MARKING] == 22).all() and (raw == ids.LANE_MARKING).any()
    assert not blue.any()
    things = np.isin(raw, ids.THINGS)
    assert np.array_equal(instance > 0, things)
    for number in range(1, int(instance.max()) + 1):
        assert len(np.unique(red[instance == number])) == 1


def test_synthia_has_no_terrain_truck_or_train():
    seen = set()
    for n in range(30):
        seen |= set(np.unique(render(ImageJob(SYNTHIA, n), recipe(height=64))[1]).tolist())
    assert not seen & {ids.TERRAIN, ids.TRUCK, ids.TRAIN}
    assert seen >= set(RAW) - {ids.TERRAIN, ids.TRUCK, ids.TRAIN}


def test_cityscapes_files_have_official_names(small: Path):
    root = small / "Cityscapes"
    for split, cities in (("train", {"aachen", "bremen"}), ("val", {"frankfurt", "munster"})):
        images = sorted((root / "leftImg8bit" / split).glob("*/*.png"))
        assert len(images) == 4 and cities <= {path.parent.name for path in images}
        for path in images:
            assert re.fullmatch(r"[a-z]+_\d{6}_\d{6}_leftImg8bit\.png", path.name)
            assert path.name.split("_")[0] == path.parent.name
            stem = path.name.removesuffix("_leftImg8bit.png")
            ground = root / "gtFine" / split / path.parent.name / f"{stem}_gtFine_labelIds.png"
            label = cv2.imread(str(ground), cv2.IMREAD_UNCHANGED)
            assert label.dtype == np.uint8 and label.shape == (64, 128) and label.max() <= 33
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (64, 128, 3)


def test_images_are_stored_as_rgb(small: Path):
    image, _ = render(ImageJob(VAL, 0), recipe(height=64, seed=3))
    path = small / "Cityscapes/leftImg8bit/val/frankfurt/frankfurt_000000_000019_leftImg8bit.png"
    assert np.array_equal(np.array(Image.open(path)), image)


def test_sizes_follow_the_real_ones():
    assert generator.layouts.image_size("GTA5", 1024) == (1052, 1914)
    assert generator.layouts.image_size("SYNTHIA", 1024) == (760, 1280)
    assert generator.layouts.image_size("Cityscapes", 1024) == (1024, 2048)
    assert generator.layouts.image_size("GTA5", 128) == (141, 256)


# Folders: which, when, and all or nothing.


def test_processes_do_not_change_a_byte(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(generator, "FEWEST", 1)
    assert contents(generate(tmp_path, workers=2, **SMALL)) == contents(small)


def test_every_parameter_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch):
    base = {"gap": WHOLE, **SMALL}
    folders = {Recipe(**base).folder}
    folders.add(Recipe(**base | {"gap": gap.Gap(look=0.5)}).folder)
    for name, value in SMALL.items():
        folders.add(Recipe(**{**base, name: value * 2}).folder)
    monkeypatch.setattr(gap, "STRENGTH", gap.Gap(2.0, 2.0, 2.0))
    folders.add(Recipe(**base).folder)
    monkeypatch.setattr(generator, "GENERATOR_VERSION", generator.GENERATOR_VERSION + 1)
    folders.add(Recipe(**base).folder)
    assert len(folders) == len(base) + 3


def test_a_finished_folder_is_returned_untouched(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(generator, "_make", None)
    assert generate(small.parent, workers=1, **SMALL) == small


def test_an_interrupted_run_leaves_nothing_and_is_redone(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    draw, drawn = generator._draw, []

    def interrupted(folder: Path, *rest: object) -> None:
        drawn.append(folder)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        draw(folder, *rest)

    monkeypatch.setattr(generator, "_draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, workers=1, **SMALL)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert contents(generate(tmp_path, workers=1, **SMALL)) == contents(small)


def test_a_killed_run_takes_its_workers_along_and_is_redone(small: Path, tmp_path: Path):
    many = {**SMALL, "target": 4000}
    code = (
        "from pathlib import Path; from uda_hydra.data.streets import generate\n"
        f"generate(Path({str(tmp_path)!r}), workers=2, **{many!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*.partial-*/*/*/*.png")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(workers) >= 2 and not psutil.wait_procs(workers, timeout=10)[1]

    folder = Recipe(gap=WHOLE, **SMALL).folder
    stale = next(tmp_path.glob(".*.partial-*"))
    assert not (tmp_path / stale.name.split(".")[1]).exists()
    # The next attempt at the same folder begins by clearing what the dead one left.
    stale.rename(tmp_path / f".{folder}.partial-1")
    assert contents(generate(tmp_path, workers=1, **SMALL)) == contents(small)
    assert not list(tmp_path.glob(".*.partial-*"))


def test_calls_at_once_make_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    make, made = generator._make, []

    def counted(*arguments: object) -> None:
        made.append(arguments)
        make(*arguments)

    monkeypatch.setattr(generator, "_make", counted)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(generate, tmp_path, workers=1, **SMALL) for _ in range(3)]
        assert len({call.result() for call in calls}) == 1
    assert len(made) == 1
    assert f"streets: waiting for {calls[0].result()} (another" in capsys.readouterr().out


def test_nothing_asked_for_is_nothing_written(tmp_path: Path):
    folder = generate(tmp_path, seed=0, height=64, target=1, workers=2)
    assert sorted(path.name for path in folder.iterdir()) == ["Cityscapes", "streets.json"]


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"height": 32}, "dataset.height"),
        ({"height": 2048}, "dataset.height"),
        ({"target": -1}, "dataset.counts.target"),
        ({"target": 10**9}, "dataset.counts.target"),
        ({"gap": gap.Gap(look=-1.0)}, "dataset.gap.look"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, wrong: dict[str, float], key: str):
    with pytest.raises(ValueError, match=re.escape(key)):
        generate(tmp_path / "new", **{**SMALL, "workers": 1, **wrong})
    assert not (tmp_path / "new").exists()


def test_a_gap_has_named_parts():
    assert read_gap({"layout": 0, "look": 2}) == gap.Gap(2.0, 0.0, 1.0)
    for wrong in (0.5, {"layouts": 1.0}):
        with pytest.raises(ValueError, match=r"dataset\.gap\.families"):
            read_gap(wrong)
    for value in (None, "abc", math.nan):
        with pytest.raises(ValueError, match=r"dataset\.gap\.look must be a number"):
            read_gap({"look": value})


def test_an_unwritable_place_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another folder"):
        generate(tmp_path / "file" / "streets", workers=1, **SMALL)
