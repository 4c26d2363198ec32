"""Readers of data sets on disk.

A reader is one file here whose function of the same name checks the files and returns an
``ImageSet``. It is called with ``label_space`` and ``labelled`` (whether labels may be looked at);
its other parameters are the keys of a domain in ``conf/dataset`` whose ``layout`` is its name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from uda_hydra.data.readers.decode import UnreadableFile, read_rgb
from uda_hydra.data.readers.image_set import ImageSet, Layout, Sample
from uda_hydra.errors import nearest
from uda_hydra.files import is_number

__all__ = [
    "ImageSet",
    "Layout",
    "Reader",
    "Sample",
    "UnreadableFile",
    "check_options",
    "find_reader",
    "published_classes",
    "read_rgb",
]

Reader = Callable[..., ImageSet]
_GIVEN = ("label_space", "labelled")
_TYPES = {
    Path: "a path",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
    # YAML reads 0016E5, a sequence of CamVid, as 1600000.0.
    list[str]: "a list of texts, in quotes where one looks like a number",
}


def find_reader(layout: object, key: str) -> Reader:
    """The reader of a layout; ValueError names ``key``, its place in the config."""
    readers = {}
    for name, module in _modules():
        found = vars(module).get(name)
        if inspect.isfunction(found) and get_type_hints(found).get("return") is ImageSet:
            readers[name] = found
    if not isinstance(layout, str) or layout not in readers:
        raise ValueError(f"{key}={layout} is not a known layout{nearest(str(layout), readers)}")
    return readers[layout]


def published_classes() -> set[str]:
    """The names that the data sets give their classes."""
    layouts = [vars(module).get("LAYOUT") for _, module in _modules()]
    return {name for layout in layouts if layout is not None for name in layout.ids}


def _modules() -> Iterator[tuple[str, ModuleType]]:
    for module in pkgutil.iter_modules(__path__):
        yield module.name, importlib.import_module(f"{__name__}.{module.name}")


def check_options(reader: Reader, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Keys of the config node ``key`` as arguments of ``reader``.

    Raises ValueError where one is unknown, missing or of another type.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(reader).parameters.items()
        if name not in _GIVEN
    }
    for name in values:
        if name not in parameters:
            own = f"layout={reader.__name__} reads {', '.join(parameters)}"
            raise ValueError(f"{key}.{name} is not a key of this data set: {own}")
    hints = get_type_hints(reader)
    options = {}
    for name, parameter in parameters.items():
        if name in values:
            options[name] = _argument(values[name], hints[name], f"{key}.{name}")
        elif parameter.default is parameter.empty:
            raise ValueError(f"{key}.{name} is missing; layout={reader.__name__} needs it")
    return options


def _argument(value: Any, hint: Any, key: str) -> Any:
    """``value`` as the parameter's type; a text may be a path."""
    types = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if Path in types and isinstance(value, str):
        return Path(value)
    for one in types:
        if type(value) is one or (one is Path and isinstance(value, Path)):
            return value
        if one is float and is_number(value):
            return value
        parts = get_args(one)
        if parts and isinstance(value, list) and all(type(part) in parts for part in value):
            return value
    wanted = " or ".join(_TYPES.get(one, str(one)) for one in types)
    raise ValueError(f"{key} must be {wanted}, got {'null' if value is None else repr(value)}")
