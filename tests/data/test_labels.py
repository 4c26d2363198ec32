"""Label spaces of the benchmarks, and those of a user's class file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.labels import (
    CAMVID11,
    CITYSCAPES19,
    LABEL_SPACES,
    SYNTHIA13,
    SYNTHIA16,
    label_space,
)
from uda_hydra.data.readers import cityscapes, synthia
from uda_hydra.data.readers.image_set import class_table
from uda_hydra.errors import UserError


def numbers(ids, raw):
    """The class number of a raw id in 19, 16 and 13 classes."""
    spaces = (CITYSCAPES19, SYNTHIA16, SYNTHIA13)
    return tuple(class_table(space.raw_ids(ids), 256)[raw] for space in spaces)


def test_sizes_and_subsets():
    assert [len(space) for space in LABEL_SPACES.values()] == [19, 16, 13, 11, 24]
    assert {*CITYSCAPES19.names} - {*SYNTHIA16.names} == {"terrain", "truck", "train"}
    assert {*SYNTHIA16.names} - {*SYNTHIA13.names} == {"wall", "fence", "pole"}
    assert SYNTHIA16.subsets == {"miou_13": SYNTHIA13.names}
    for space in (SYNTHIA16, SYNTHIA13):
        assert [name for name in CITYSCAPES19.names if name in space.names] == [*space.names]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (7, (0, 0, 0)),  # road
        (17, (5, 5, 255)),  # pole
        (22, (9, 255, 255)),  # terrain
        (26, (13, 12, 9)),  # car
        (33, (18, 15, 12)),  # bicycle
        (9, (255, 255, 255)),  # parking
        (14, (255, 255, 255)),  # guard rail
        (34, (255, 255, 255)),  # licence plate
        (255, (255, 255, 255)),
    ],
)
def test_cityscapes_ids_by_hand(raw, expected):
    assert numbers(cityscapes.IDS, raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (3, (0, 0, 0)),  # road
        (21, (3, 3, 255)),  # wall
        (1, (10, 9, 6)),  # sky
        (11, (18, 15, 12)),  # bicycle
        (22, (255, 255, 255)),  # lane marking
        (0, (255, 255, 255)),
    ],
)
def test_synthia_ids_by_hand(raw, expected):
    assert numbers(synthia.IDS, raw) == expected


@pytest.mark.parametrize("ids", [cityscapes.IDS, synthia.IDS])
@pytest.mark.parametrize("space", [CITYSCAPES19, SYNTHIA16, SYNTHIA13])
def test_table_gives_every_class_one_raw_id(ids, space):
    table = class_table(space.raw_ids(ids), 256)
    assert sorted(table[table != 255]) == list(range(len(space)))


def test_classes_of_cityscapes_merge_into_those_of_camvid():
    """Rider, motorcycle and bicycle are one class, lights and signs another."""
    merged = dict(zip(CAMVID11.names, CAMVID11.raw_ids(cityscapes.IDS), strict=True))
    assert merged == {
        "sky": (23,),
        "building": (11, 12),
        "pole": (17,),
        "road": (7,),
        "pavement": (8,),
        "tree": (21, 22),
        "sign": (19, 20),
        "fence": (13, 14),
        "car": (26, 27, 28, 31),
        "pedestrian": (24,),
        "bicyclist": (25, 33, 32),
    }
    table = class_table(CAMVID11.raw_ids(cityscapes.IDS), 256)
    assert table[[19, 20, 25, 33, 9]].tolist() == [6, 6, 10, 10, 255]


def test_colours_are_official_in_every_space():
    for space, sky in ((CITYSCAPES19, 10), (SYNTHIA16, 9), (SYNTHIA13, 6)):
        label = np.array([[sky, 0, 255, len(space)]], np.uint8)
        colours = space.colourise(label).tolist()
        assert colours == [[[70, 130, 180], [128, 64, 128], [0] * 3, [0] * 3]]
    assert CAMVID11.colourise(np.array([[10]], np.uint8)).tolist() == [[[0, 128, 192]]]
    for space in LABEL_SPACES.values():
        assert len(set(space.colours)) == len(space)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"names": ("a",), "colours": ((0, 0, 0),)}, "2 to 255 classes, got 1"),
        ({"names": ("a", "a")}, "names a class twice: a"),
        ({"colours": ((0, 0, 0),)}, "one colour"),
        ({"subsets": {"miou_x": ("c",)}}, "miou_x of space has unknown classes: c"),
        ({"merged": {"c": ("d",)}}, "merged of space has unknown classes: c"),
        ({"merged": {"a": ("c",), "b": ("c",)}}, "merges c into more than one class"),
        ({"merged": {"a": ("b",)}}, "merges b into more than one class"),
    ],
)
def test_parts_that_do_not_fit_are_refused(more, complaint):
    parts = {"names": ("a", "b"), "colours": ((0, 0, 0), (1, 1, 1))}
    with pytest.raises(ValueError, match=complaint):
        LabelSpace("space", **(parts | more))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_class_file(tmp_path):
    found = label_space(
        written(
            tmp_path,
            """\
classes:
  - {name: road, colour: [128, 64, 128], source: [7, 6], target: ['#804080']}
  - {name: other, colour: '#46464A', source: 11, merges: [building, wall]}
subsets: {miou_road: [road]}
ignore: {source: [0]}
""",
        )
    )
    assert (found.name, found.names) == ("mine", ("road", "other"))
    assert found.colours == ((128, 64, 128), (70, 70, 74))
    assert found.subsets == {"miou_road": ("road",)}
    assert found.listed["source"] == {"road": (7, 6), "other": (11,)}
    assert found.listed["target"] == {"road": ("#804080",), "other": ()}
    assert found.ignored["source"] == (0,)
    assert found.raw_ids(cityscapes.IDS) == ((7,), (11, 12))


ROAD, SKY = "{name: road, colour: [1, 2, 3]", "{name: sky, colour: [4, 5, 6]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("5", "the file must be a mapping"),
        (f"classes: [&road {ROAD}}}, *road]", r"aliases .* are not read"),
        ("classes: {}", "must hold a list"),
        ("classes: [road, sky]", "class 1 must be a mapping"),
        (f"classes: [{ROAD}}}]", "2 to 255 classes, got 1"),
        (f"klasses: [{ROAD}}}]", "no key 'klasses'; did you mean classes"),
        (f"classes: [{ROAD}, color: 3}}, {SKY}}}]", "no key 'color'; did you mean colour"),
        (f"classes: [{ROAD}}}, {ROAD}}}]", "names a class twice: road"),
        (f"classes: [{ROAD}}}, {{name: sky}}]", "colour of sky must be"),
        (f"classes: [{ROAD}}}, {{name: sky, colour: [0, 0, 256]}}]", "colour of sky must be"),
        (f"classes: [{ROAD}}}, {{name: no, colour: [0, 0, 6]}}]", "class 2 needs a name"),
        (f"classes: [{ROAD}, source: [7]}}, {SKY}, source: [7]}}]", "source lists 7 twice, for"),
        (f"classes: [{ROAD}, source: [7]}}, {SKY}}}]\nignore: {{source: 7}}", "road and ignore"),
        (f"classes: [{ROAD}, source: [7, '#000000']}}, {SKY}}}]", "raw ids or colours, not both"),
        (f"classes: [{ROAD}, source: [65536]}}, {SKY}}}]", "raw ids .0 to 65535. or colours"),
        (f"classes: [{ROAD}, source: [true]}}, {SKY}}}]", "got True"),
        (f"classes: [{ROAD}, source: ['#12']}}, {SKY}}}]", "got '#12'"),
        (f"classes: [{ROAD}, source: [#804080]}}, {SKY}}}]", "colours need quotes"),
        (f"classes: [{ROAD}, source: 1, source: 2}}, {SKY}}}]", "source is given twice, line 1"),
        (f"classes: [{ROAD}}}, {SKY}, merges: [ridr]}}]", "'ridr'; did you mean rider"),
        (f"classes: [{ROAD}}}, {SKY}}}]\nsubsets: {{miou_x: [rode]}}", "unknown classes: rode"),
        (
            f"classes: [{ROAD}}}, {SKY}}}]\nsubsets: {{two: [road]}}",
            "such as miou_two",
        ),
        (f"classes: [{ROAD}}}, {SKY}}}]\nsubsets: {{1: [road]}}", "such as miou_1"),
    ],
)
def test_errors_of_a_class_file_are_one_line_with_its_name(tmp_path, text, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        label_space(written(tmp_path, text))
    assert "mine.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_other_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"cityscape19 is neither .* did you mean cityscapes19"):
        label_space("cityscape19")
    with pytest.raises(UserError, match=r"absent\.yaml: the file cannot be read"):
        label_space(str(tmp_path / "absent.yaml"))
    with pytest.raises(UserError, match=r"dataset\.classes is not set"):
        label_space(None)
