"""Translating tensor names with a layout's table, in either direction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from uda_hydra.inputs import shown
from uda_hydra.models.checkpoints.parts import Pairs
from uda_hydra.models.checkpoints.weight_layout import WeightLayout


class Fit(NamedTuple):
    """How well the names in a file match a layout."""

    lacking: tuple[str, ...]
    """Prefixes that the layout must have and no name has."""
    unknown: tuple[str, ...]
    """Names with a prefix that the layout does not have."""


def fit(names: Iterable[str], layout: WeightLayout) -> Fit:
    """Compare ``names`` with the layout's own."""
    prefixes = _theirs(layout.pairs)
    pattern = _any(prefixes)
    matches = {name: pattern.match(name) for name in names}
    found = {prefixes[match.lastindex - 1] for match in matches.values() if match}
    return Fit(
        lacking=tuple(p for p in prefixes if p not in found and p not in layout.optional),
        unknown=tuple(name for name, match in matches.items() if match is None),
    )


def rename(names: Iterable[str], layout: WeightLayout) -> dict[str, str | None]:
    """Our name for each of a file's names; None for unknown and unused ones."""
    pattern = _any(_theirs(layout.pairs))
    ours: dict[str, str | None] = {}
    for name in names:
        match = pattern.match(name)
        theirs, our = layout.pairs[match.lastindex - 1] if match else (None, None)
        ours[name] = None if our is None else _swap(name, theirs, our)
    return ours


def rename_back(names: Iterable[str], layout: WeightLayout) -> dict[str, str | None]:
    """The layout's name for each name of ours; None where it has none."""
    pairs = tuple((ours, theirs) for theirs, ours in layout.pairs if ours is not None)
    return rename(names, layout._replace(pairs=pairs))


def order(names: Iterable[str], layout: WeightLayout) -> list[str]:
    """``names`` in the order of the layout's state dict; stable within one part."""
    prefixes = _theirs(layout.pairs)
    stems = [prefix.partition("{")[0] for prefix in prefixes]
    pattern = _any(prefixes)

    def place(name: str) -> int:
        # Prefixes with one stem take turns: branch 0 as a whole comes before branch 1.
        return stems.index(stems[pattern.match(name).lastindex - 1])

    return sorted(names, key=place)


def _theirs(pairs: Pairs) -> tuple[str, ...]:
    return tuple(theirs for theirs, _ in pairs)


@cache
def _any(prefixes: tuple[str, ...]) -> re.Pattern[str]:
    """An expression with one group per prefix, so that one match compares them all."""
    return re.compile("|".join(f"({_pattern(p, named=False)})" for p in prefixes))


@cache
def _pattern(prefix: str, *, named: bool) -> str:
    digits = r"(?P<\1>[0-9]+)" if named else "[0-9]+"
    return re.sub(r"\\\{([nm])\\\}", digits, re.escape(prefix))


def _swap(name: str, old: str, new: str) -> str:
    match = re.match(_pattern(old, named=True), name)
    return new.format(**match.groupdict()) + name[match.end() :]


def abbreviate(names: Iterable[str], most: int = 3) -> str:
    """The first ``most`` names, and how many more there are, safe for a terminal."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + rest if names else "nothing"
