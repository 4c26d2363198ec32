"""A user's own label space, read from YAML.

::

    classes:
      - {name: road, colour: [128, 64, 128], source: [7, 6], target: ['#804080']}
      - {name: other, colour: '#464646', source: [11, 12], merges: [building, wall]}
    subsets: {miou_two: [road, other]}
    ignore: {source: [0]}

``source`` and ``target`` list the values of the label files of ``dataset=folders``: raw ids or
colours. Where no class lists any, a file holds class numbers. ``merges`` names classes of the
published data sets. Whatever is not listed is ignored; ``ignore`` names what is known to be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from uda_hydra.data.label_space import Colour, LabelSpace
from uda_hydra.errors import UserError, nearest
from uda_hydra.inputs import InputError, read_text

ENDINGS = (".yaml", ".yml")
DOMAINS = ("source", "target")
LARGEST_ID = 65535
"""What a 16-bit label can hold."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_SUBSET = re.compile(r"miou_[\w-]+")
_TOP = ("classes", "subsets", "ignore")
_ENTRY = ("name", "colour", *DOMAINS, "merges")

Values = tuple[int | str, ...]


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which no mapping gives a key twice; the last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                problem = f"{key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def read_class_file(path: Path) -> LabelSpace:
    """The label space of a file, named after it; UserError names the file and what to change."""
    try:
        return _space(path.stem, _parsed(path))
    except ValueError as error:
        raise UserError(f"dataset.classes={path}: {error}") from error


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        text = read_text(path)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            # A few lines of them unfold to gigabytes.
            raise ValueError("aliases (*name) are not read; write out what they stand for")
        content = yaml.load(text, _UniqueKeys)
    except InputError as error:
        raise ValueError(f"the file {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ValueError(
            f"this is not YAML ({error.problem}{place}); colours need quotes: '#804080'"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("this is not a YAML text in UTF-8") from error
    content = _mapping(content, "the file", _TOP)
    if not isinstance(content.get("classes"), list):
        raise ValueError("it must hold a list, classes: [{name: ..., colour: [r, g, b]}, ...]")
    return content


def _space(name: str, content: Mapping[str, Any]) -> LabelSpace:
    entries = [
        _mapping(entry, f"class {number}", _ENTRY)
        for number, entry in enumerate(content["classes"], 1)
    ]
    names = tuple(_name(entry, number) for number, entry in enumerate(entries, 1))
    pairs = [*zip(names, entries, strict=True)]
    ignore = _mapping(content.get("ignore", {}), "ignore", DOMAINS)
    listed, ignored = {}, {}
    for domain in DOMAINS:
        found = {one: _values(entry.get(domain, []), one, domain) for one, entry in pairs}
        if any(found.values()):
            listed[domain] = found
        ignored[domain] = _values(ignore.get(domain, []), "ignore", domain)
        _check_values(found | {"ignore": ignored[domain]}, domain)
    subsets = content.get("subsets", {})
    return LabelSpace(
        name,
        names,
        tuple(_colour(entry.get("colour"), one) for one, entry in pairs),
        {_subset(key): _texts(subsets[key], key) for key in _mapping(subsets, "subsets")},
        {one: _texts(entry["merges"], one) for one, entry in pairs if entry.get("merges")},
        listed,
        ignored,
    )


def _mapping(value: Any, what: str, known: Sequence[str] | None = None) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping such as {{name: value}}, got {value!r}")
    for key in value:
        if known is not None and key not in known:
            raise ValueError(f"{what} has no key {key!r}{nearest(str(key), known)}")
    return value


def _name(entry: Mapping[str, Any], number: int) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(
            f"class {number} needs a name in letters, got {name!r}; quote it if need be"
        )
    return name


def _subset(key: Any) -> str:
    if not isinstance(key, str) or not _SUBSET.fullmatch(key):
        name = re.sub(r"\W+", "_", str(key).removeprefix("miou_")).strip("_") or "name"
        raise ValueError(f"subset {key!r} must be named miou_<name>, such as miou_{name}")
    return key


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{what} must list names of classes, got {value!r}")
    return tuple(value)


def _colour(value: Any, name: str) -> Colour:
    if isinstance(value, str) and _COLOUR.fullmatch(value.lower()):
        red, green, blue = bytes.fromhex(value[1:])
        return red, green, blue
    levels = value if isinstance(value, list) else []
    if len(levels) != 3 or not all(type(one) is int and 0 <= one <= 255 for one in levels):
        raise ValueError(f"colour of {name} must be [red, green, blue], 0 to 255, got {value!r}")
    return levels[0], levels[1], levels[2]


def _values(value: Any, name: str, domain: str) -> Values:
    """Raw ids, or colours in lower case; a single one needs no list."""
    values = value if isinstance(value, list) else [value]
    for one in values:
        is_id = type(one) is int and 0 <= one <= LARGEST_ID
        if not is_id and not (isinstance(one, str) and _COLOUR.fullmatch(one.lower())):
            raise ValueError(
                f"{domain} of {name} must list raw ids (0 to {LARGEST_ID}) or colours in quotes "
                f"('#804080'), got {one!r}"
            )
    return tuple(one.lower() if isinstance(one, str) else one for one in values)


def _check_values(found: Mapping[str, Values], domain: str) -> None:
    """Each value once, and all of one kind."""
    owner: dict[int | str, str] = {}
    for name, values in found.items():
        for value in values:
            if value in owner:
                both = f"{owner[value]} and {name}"
                raise ValueError(f"{domain} lists {value} twice, for {both}; leave one out")
            owner[value] = name
    if len({type(value) for value in owner}) > 1:
        raise ValueError(f"{domain} must list raw ids or colours, not both")
