"""One side of a pair, as the config describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import ImageSet, Reader, check_options, find_reader

_OWN = ("layout", "size", "validation", "validation_count")


@dataclass(frozen=True)
class Domain:
    """A reader with its options; ``key`` is the config node that they are from."""

    key: str
    layout: str
    reader: Reader
    options: Mapping[str, Any]
    size: tuple[int, int]
    """Width and height in training."""
    validation: Mapping[str, Any] | None = None
    """The options that differ for the images that are scored; a source may have none."""
    validation_count: int | None = None
    """Of a source: score so many images, evenly spaced; all of them without."""
    generated: str | None = None
    """What decides the content of generated files."""

    @classmethod
    def read(cls, values: Mapping[str, Any], key: str) -> Domain:
        """The config node ``key``, its keys checked against those of the reader it names.

        ``validation`` is the name of a split, a list of them, or a mapping of the reader's keys.
        """
        reader = find_reader(values.get("layout"), f"{key}.layout")
        options = {name: value for name, value in values.items() if name not in _OWN}
        validation = values.get("validation")
        if isinstance(validation, str | list):
            validation = {"split": validation}
        if not isinstance(validation, Mapping | None):
            raise ValueError(f"{key}.validation must be a split, got {validation}")
        if validation is not None:
            # A list file chooses among the images of training.
            validation = dict.fromkeys(options.keys() & {"list_file"}) | validation
            checked = check_options(reader, options | validation, f"{key}.validation")
            validation = {name: checked[name] for name in validation}
        return cls(
            key,
            values["layout"],
            reader,
            check_options(reader, options, key),
            check_size(values.get("size"), key),
            validation,
            _count(values.get("validation_count"), key),
        )

    def with_options(self, **options: Any) -> Domain:
        """The same with other options of its reader."""
        return replace(self, options={**self.options, **options})

    def images(self, label_space: LabelSpace, *, labelled: bool) -> ImageSet:
        """The images for training; unless ``labelled`` no label file is looked for.

        Raises FileNotFoundError for what is not there, and ValueError for what does not fit, such
        as labels that cannot hold any class; both name the config node.
        """
        try:
            found = self.reader(label_space=label_space, labelled=labelled, **self.options)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.key}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{self.key}: {error}") from error
        if labelled and not found.shown:
            raise ValueError(
                f"dataset.classes: {found.name} ({self.key}) has no class of {label_space.name}; "
                f"it knows {', '.join(found.layout.ids)}. A class file may merge these"
            )
        return replace(found, generated=self.generated)

    def scored(self, label_space: LabelSpace) -> ImageSet:
        """The labelled validation images, or as many as ``validation_count`` says."""
        assert self.validation is not None, self.key
        images = self.with_options(**self.validation).images(label_space, labelled=True)
        total = len(images)
        count = min(self.validation_count or total, total)
        return replace(images, samples=[images.samples[i * total // count] for i in range(count)])


def check_size(value: Any, key: str) -> tuple[int, int]:
    """Width and height, of the domain with the node ``key``; ValueError if they are not."""
    sides = value if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{key}.size must be [width, height] in pixels, got {value}")
    return sides[0], sides[1]


def _count(value: Any, key: str) -> int | None:
    if value is not None and (key != "dataset.source" or type(value) is not int or value < 1):
        raise ValueError(
            "validation_count must be 1 or more, and belongs to dataset.source alone, "
            f"got {key}.validation_count={value}"
        )
    return value
