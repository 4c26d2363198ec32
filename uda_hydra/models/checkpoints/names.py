"""Turning names by a layout's table, in either direction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from uda_hydra.models.checkpoints.layouts import Layout
from uda_hydra.models.checkpoints.parts import Pairs


class Fit(NamedTuple):
    """How far a file's names follow a layout."""

    lacking: tuple[str, ...]
    """Beginnings that the layout must have and no name has."""
    unknown: tuple[str, ...]
    """Names with a beginning that the layout does not have."""


def fit(names: Iterable[str], layout: Layout) -> Fit:
    """Compare ``names`` with the layout's own."""
    beginnings = _theirs(layout.pairs)
    pattern = _any(beginnings)
    matches = {name: pattern.match(name) for name in names}
    found = {beginnings[match.lastindex - 1] for match in matches.values() if match}
    return Fit(
        lacking=tuple(b for b in beginnings if b not in found and b not in layout.optional),
        unknown=tuple(name for name, match in matches.items() if match is None),
    )


def rename(names: Iterable[str], layout: Layout) -> dict[str, str | None]:
    """Our name for each of a file's names; None for those that are unknown or of no use."""
    pattern = _any(_theirs(layout.pairs))
    ours: dict[str, str | None] = {}
    for name in names:
        match = pattern.match(name)
        theirs, our = layout.pairs[match.lastindex - 1] if match else (None, None)
        ours[name] = None if our is None else _swap(name, theirs, our)
    return ours


def rename_back(names: Iterable[str], layout: Layout) -> dict[str, str | None]:
    """The layout's name for each name of ours; None where it has no place for it."""
    pairs = tuple((ours, theirs) for theirs, ours in layout.pairs if ours is not None)
    return rename(names, layout._replace(pairs=pairs))


def order(names: Iterable[str], layout: Layout) -> list[str]:
    """The layout's ``names``, sorted as its state dict has its parts; stable inside a part."""
    beginnings = _theirs(layout.pairs)
    stems = [beginning.partition("{")[0] for beginning in beginnings]
    pattern = _any(beginnings)

    def place(name: str) -> int:
        # Beginnings with one stem take turns: branch 0 as a whole comes before branch 1.
        return stems.index(stems[pattern.match(name).lastindex - 1])

    return sorted(names, key=place)


def _theirs(pairs: Pairs) -> tuple[str, ...]:
    return tuple(theirs for theirs, _ in pairs)


@cache
def _any(beginnings: tuple[str, ...]) -> re.Pattern[str]:
    """One group for each of ``beginnings``: all are compared at once."""
    return re.compile("|".join(f"({_pattern(b, named=False)})" for b in beginnings))


@cache
def _pattern(beginning: str, *, named: bool) -> str:
    digits = r"(?P<\1>[0-9]+)" if named else "[0-9]+"
    return re.sub(r"\\\{([nm])\\\}", digits, re.escape(beginning))


def _swap(name: str, old: str, new: str) -> str:
    match = re.match(_pattern(old, named=True), name)
    return new.format(**match.groupdict()) + name[match.end() :]


def few(names: Iterable[str], most: int = 3) -> str:
    """The first ``most`` names, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "nothing"
