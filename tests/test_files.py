"""Files that any program can read."""

from __future__ import annotations

import json
import math

from uda_hydra.files import write_json


def test_numbers_that_are_not_finite_are_null_at_any_depth(tmp_path):
    values = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, "nan", True, None)}]}
    write_json(tmp_path / "x.json", values)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert read == {"a": None, "b": [1.5, None, {"c": [None, "nan", True, None]}]}
