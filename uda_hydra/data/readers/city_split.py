"""Cityscapes' training images as two domains: the groups of cities of Adversarial_DA_Exp."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

GROUPS = (
    (
        "aachen",
        "bremen",
        "darmstadt",
        "erfurt",
        "hanover",
        "krefeld",
        "strasbourg",
        "tubingen",
        "weimar",
    ),
    (
        "bochum",
        "cologne",
        "dusseldorf",
        "hamburg",
        "jena",
        "monchengladbach",
        "stuttgart",
        "ulm",
        "zurich",
    ),
)
"""The 18 training cities in alphabetical order, dealt out in turn."""

PARTS = ("train0", "val0", "train1", "val1")
"""Training and validation images of either group."""

_VALIDATION = 10


def city_split(keys: Iterable[str], *, keep_lost: bool) -> dict[str, list[str]]:
    """The ``PARTS`` of images ``<city>/<name>``, each in the order of the keys.

    Of every city ten images are for validation and the rest for training. The release loses the
    first image of every city but the first one, 17 of 2 975; ``keep_lost`` puts them into training.
    """
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for number, (city, names) in enumerate(groupby(sorted(keys), _city)):
        group = next((i for i, cities in enumerate(GROUPS) if city in cities), None)
        if group is None:
            raise ValueError(
                f"{city} is in neither group of cities: the splits {', '.join(PARTS)} are made of "
                "the 18 training cities of Cityscapes"
            )
        names = [*names]
        lost = 0 if number == 0 else 1
        parts[f"val{group}"] += names[lost : lost + _VALIDATION]
        parts[f"train{group}"] += names[: lost if keep_lost else 0] + names[lost + _VALIDATION :]
    return parts


def _city(key: str) -> str:
    return key.split("/")[0]
