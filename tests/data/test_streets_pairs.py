"""The generated pairs: GTA5, SYNTHIA or other cities to Cityscapes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from tests.conftest import CONF, composed
from uda_hydra.data.readers.city_split import city_split
from uda_hydra.data.streets import layouts
from uda_hydra.report import summary


def dataset(name):
    return OmegaConf.to_container(composed(f"dataset={name}").dataset, resolve=True)


def test_the_full_name_of_streets_is_streets():
    assert dataset("streets_gta2city") == dataset("streets")
    assert composed().dataset == composed("dataset=streets").dataset
    rare, same = (
        composed(f"dataset={n}", "sampler=rare_class") for n in ("streets_gta2city", "streets")
    )
    assert rare.sampler == same.sampler and rare.sampler.min_pixels == 54


@pytest.mark.parametrize("name", ["streets_synthia2city", "streets_city2city"])
def test_the_others_differ_in_what_they_must(name):
    base, other = dataset("streets"), dataset(name)
    differing = {key for key in other if other[key] != base[key]}
    allowed = {"name", "counts", "source", "target", "classes"}
    assert {"name", "counts", "source"} <= differing <= allowed
    assert other["target"]["size"] == base["target"]["size"]


def test_synthia_has_sixteen_classes_and_two_scores(make_trainer):
    counts = "dataset.counts={source: 0, synthia: 6, target: 6, validation: 3}"
    trainer = make_trainer("method=source_only", "dataset=streets_synthia2city", counts)
    pair = trainer.pair
    assert (pair.name, pair.label_space.name) == ("streets_synthia2city", "synthia16")
    assert pair.source.images.name == "SYNTHIA"
    assert len(pair.source.images.shown) == 16
    trainer.evaluate()
    result = trainer.last.result()
    assert 0 <= result["miou_13"] <= 1
    assert "mIoU 13" in summary(result | {"miou/best": 0.0, "miou/best_step": 0})


def test_cities_are_split_by_the_rule(make_trainer):
    counts = "dataset.counts={source: 0, target: 100, validation: 0}"
    pair = make_trainer("method=source_only", "dataset=streets_city2city", counts).pair
    # Four cities of 13 images and four of 12; each but the first loses one, ten validate.
    assert [len(part.keys) for part in (pair.source, pair.target)] == [3 + 2 + 1, 2 + 2 + 1 + 1 + 1]
    assert {key.split("/")[0] for key in pair.source.keys} == {"aachen", "bremen", "weimar"}
    assert len(pair.validation) == 5 * 10
    assert not set(pair.validation.images.keys) & {*pair.source.keys, *pair.target.keys}


def test_the_comment_of_the_preset_tells_the_true_counts():
    count = dataset("streets_city2city")["counts"]["target"]
    cities = layouts._CITIES["train"]
    found = [f"{cities[i % len(cities)]}/{i // len(cities):06d}" for i in range(count)]
    parts = city_split(found, keep_lost=False)
    header = (CONF / "dataset" / "streets_city2city.yaml").read_text()
    sizes = [len(parts[part]) for part in ("train0", "train1", "val1")]
    assert "{} source, {} target, {} validation images".format(*sizes) in header
