"""The numbers of the official releases, case by case."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

DEFAULT = Path(__file__).parents[3] / "shared" / "reference"


class Case:
    """One case of a reference file; arrays become tensors, 0-d arguments plain Python values."""

    def __init__(self, arrays: dict[str, np.ndarray], name: str) -> None:
        self.name = name
        self.inputs = self._part(arrays, "in")
        self.args = self._part(arrays, "arg")
        self.out = self._part(arrays, "out")
        if not (self.inputs or self.args or self.out):
            raise KeyError(f"no case {name!r} in the reference file")

    def _part(self, arrays: dict[str, np.ndarray], part: str) -> dict[str, object]:
        prefix = f"{self.name}/{part}/"
        return {
            k.removeprefix(prefix): _value(v) for k, v in arrays.items() if k.startswith(prefix)
        }


def _value(array: np.ndarray) -> object:
    if array.ndim == 0:
        return array.item()
    return array.tolist() if array.dtype.kind in "US" else torch.from_numpy(array.copy())


class Reference:
    """A group of cases: ``reference("caco")["contrast_basic"].inputs["query"]``."""

    def __init__(self, group: str) -> None:
        path = Path(os.environ.get("UDA_REFERENCE", DEFAULT)) / f"{group}.npz"
        if not path.is_file():
            pytest.skip(f"no reference numbers at {path}; set UDA_REFERENCE to their folder")
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}

    def __getitem__(self, name: str) -> Case:
        return Case(self.arrays, name)

    def names(self, prefix: str = "") -> list[str]:
        """Names of all cases that begin with ``prefix``."""
        found = dict.fromkeys(key.split("/")[0] for key in self.arrays)
        return [name for name in found if name.startswith(prefix)]


@pytest.fixture(scope="session")
def reference():
    """Open a group once: ``reference("metrics")``."""
    opened: dict[str, Reference] = {}

    def open_group(group: str) -> Reference:
        if group not in opened:
            opened[group] = Reference(group)
        return opened[group]

    return open_group
