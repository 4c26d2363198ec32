"""Cityscapes' two groups of cities: the official lists by their rule, apart from each other."""

from __future__ import annotations

import pytest
from layouts import cityscapes_folder

from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.pairs import from_disk
from uda_hydra.data.readers.city_split import GROUPS, PARTS, city_split
from uda_hydra.data.readers.cityscapes import cityscapes

# Training images of each city (Cordts et al., CVPR 2016): 2 975 in all.
IMAGES = {"aachen": 174, "bochum": 96, "bremen": 316, "cologne": 154, "darmstadt": 85}
IMAGES |= {"dusseldorf": 221, "erfurt": 109, "hamburg": 248, "hanover": 196, "jena": 119}
IMAGES |= {"krefeld": 99, "monchengladbach": 94, "strasbourg": 365, "stuttgart": 196}
IMAGES |= {"tubingen": 144, "ulm": 95, "weimar": 142, "zurich": 122}


def keys(images):
    return [f"{city}/{city}_{i:06d}_000019" for city, n in images.items() for i in range(n)]


def test_the_cities_are_dealt_out_in_turn():
    assert (tuple(sorted(IMAGES)[0::2]), tuple(sorted(IMAGES)[1::2])) == GROUPS


@pytest.mark.parametrize(
    ("keep_lost", "sizes"), [(False, [1532, 90, 1246, 90]), (True, [1540, 90, 1255, 90])]
)
def test_the_official_sizes(keep_lost, sizes):
    parts = city_split(keys(IMAGES), keep_lost=keep_lost)
    assert [len(parts[part]) for part in PARTS] == sizes
    chosen = [key for part in PARTS for key in parts[part]]
    assert len(set(chosen)) == len(chosen)
    lost = set(keys(IMAGES)) - set(chosen)
    first = {f"{city}/{city}_000000_000019" for city in IMAGES if city != "aachen"}
    assert lost == (set() if keep_lost else first)


def test_the_rule_by_hand():
    images = keys({"weimar": 12, "aachen": 12, "ulm": 5})
    parts = city_split(images, keep_lost=False)
    # The first city of those present keeps its first image; ulm has four left.
    assert parts["val0"] == [*images[12:22], *images[1:11]]
    assert parts["train0"] == [*images[22:24], images[11]]
    assert parts["val1"] == images[25:]
    assert parts["train1"] == []
    kept = city_split(images, keep_lost=True)
    assert kept["train0"] == [*images[22:24], images[0], images[11]]
    assert (kept["train1"], kept["val1"]) == (images[24:25], images[25:])


def test_a_city_of_no_group_is_an_error():
    with pytest.raises(ValueError, match="munster is in neither group of cities"):
        city_split(keys({"aachen": 3, "munster": 2}), keep_lost=False)


@pytest.fixture
def root(tmp_path):
    found = keys({"aachen": 13, "bochum": 14, "bremen": 12})
    return cityscapes_folder(tmp_path, "train", [key.split("/")[1] for key in found])


def read(root, split, **more):
    found = cityscapes(root, label_space=CITYSCAPES19, split=split, **more)
    return [sample.key for sample in found.samples]


def test_the_reader_takes_the_parts_from_the_train_folder(root):
    whole = read(root, "train")
    expected = city_split(whole, keep_lost=False)
    assert all(read(root, part) == expected[part] for part in PARTS)
    assert len(read(root, "train0", keep_lost=True)) == len(expected["train0"]) + 1
    assert read(root, "val1", keep_lost=True) == expected["val1"]


def test_a_list_file_narrows_a_part_down_and_moves_nothing(root, tmp_path):
    wanted = read(root, "train0")[1:3]
    file = tmp_path / "some.txt"
    file.write_text("\n".join(f"train_{key.split('/')[1]}" for key in wanted))
    assert read(root, "train0", list_file=file) == wanted


def test_a_folder_without_a_group_is_told(tmp_path):
    cityscapes_folder(tmp_path, "train", ["aachen_000000_000019"])
    with pytest.raises(FileNotFoundError, match=r"train1 at .* has no image: .* bochum, cologne"):
        read(tmp_path, "train1")


def pair(root, **more):
    target = {"layout": "cityscapes", "root": root, "split": "train1", "size": [3, 2]}
    source = target | {"split": "train0"} | more
    return from_disk(
        name="city2city",
        classes="cityscapes19",
        oracle=False,
        cache=False,
        cache_folder="",
        source=source,
        target=target | {"validation": "val1"} | more,
    )


def test_training_and_validation_share_no_image(root):
    found = pair(root)
    parts = (found.source.keys, found.target.keys, found.validation.images.keys)
    assert [len(part) for part in parts] == [4, 3, 10]
    assert len(set(sum(parts, ()))) == 17
    assert len(pair(root, keep_lost=True).target.keys) == 4


def test_keep_lost_belongs_to_cityscapes(root):
    with pytest.raises(ValueError, match=r"dataset.source.keep_lost .*layout=gta5 reads root"):
        pair(root, layout="gta5", keep_lost=True)
