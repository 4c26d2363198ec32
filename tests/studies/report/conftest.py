"""Reports at a low resolution: their pixels take most of the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uda_hydra.studies.report import plot_style


@pytest.fixture(scope="session", autouse=True)
def resolution() -> Iterator[int]:
    """The usual resolution in dots per inch; the tests' own is 40."""
    with pytest.MonkeyPatch.context() as patch:
        usual = plot_style.DPI
        patch.setattr(plot_style, "DPI", 40)
        yield usual
