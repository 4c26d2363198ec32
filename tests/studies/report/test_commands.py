"""The command lines that train one point."""

from __future__ import annotations

import pytest

from tests.studies.made import KEY, curve
from uda_hydra.studies.report.commands import command_of

TABLE = {0.001: [40.0], 0.01: [41.0]}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            "python launch.py -m method=advent loss.lambda_adv=0.001,0.01 seed=0,1 output=here",
            "python launch.py method=advent loss.lambda_adv=0.001 seed=1",
        ),
        (
            "python launch.py sweep=lambda_adv hydra/launcher=joblib hydra.mode=x 'a=b c'",
            "python launch.py sweep=lambda_adv 'a=b c' hydra.mode=RUN loss.lambda_adv=0.001 seed=1",
        ),
    ],
)
def test_the_command_of_a_point_is_the_studys_with_its_values(given, wanted):
    made = curve(TABLE, command=given)
    assert command_of(made, {KEY: 0.001}, 1) == wanted


def test_values_of_a_command_are_exact_and_quoted():
    made = curve(TABLE, command="python launch.py -m x=1")
    point = {"a": 0.12345678901, "b": None, "c": True, "d": "x, y", "e": "[1,2]", "f": "{a:1}"}
    assert command_of(made, point, 0).endswith(
        """ a=0.12345678901 b=null c=true 'd='"'"'x, y'"'"'' 'e=[1,2]' 'f={a:1}' seed=0"""
    )
