from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uda_hydra.benchmark import printing
from uda_hydra.benchmark.__main__ import COMPARISONS, arguments, main
from uda_hydra.benchmark.timing import (
    Disagreement,
    Measurement,
    Ratio,
    Setting,
    Times,
    agree,
    duration,
    overhead,
    side_by_side,
    speedup,
)

CPU = torch.device("cpu")
ABSENT = ("hydra", "omegaconf", "mlflow", "optuna", "hydra_plugins")
REFUSE = f"""
import sys

class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse)
"""


# The command line


def bare_run(folder: Path) -> tuple[str, dict]:
    """The whole benchmark where four packages cannot be imported, by child processes neither."""
    (folder / "sitecustomize.py").write_text(REFUSE)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
    command = [sys.executable, "-m", "uda_hydra.benchmark", "--device", "cpu", "--quick"]
    process = subprocess.run(
        [*command, "--json", "rows.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    imports = [sys.executable, "-c", "import omegaconf"]
    refused = subprocess.run(imports, env=environment, capture_output=True, check=False)
    assert refused.returncode != 0
    assert process.returncode == 0, process.stderr
    return process.stdout, json.loads((folder / "rows.json").read_text())


def test_it_runs_without_hydra_omegaconf_mlflow_and_optuna(tmp_path):
    text, written = bare_run(tmp_path)
    demands = {row["name"]: row["demand"] for row in written["rows"]}
    assert demands == {
        "CaCo step": "at most 1.15 (ResNet-101)",
        "AdaptSegNet step": "at most 1.25",
        "AdvEnt step": "at most 1.25",
        "MinEnt step": "at most 1.05",
        "MaxSquare step": "at most 1.05",
        "MaxSquare, image-wise step": "at most 1.05",
        "ProDA step": "at most 1.15",
        "soft label of a crop": "at least 5",
        "distances to prototypes": "",
        "class means and prototypes": "at least 20",
        "MIC step": "at most 1.15",
        "dilated depthwise convolution": "",
        "EfficientNet-Lite0": "",
        "dictionary update": "at least 10 for both together",
        "contrast, forward + backward": "at least 10 for both together",
        "update and contrast": "at least 10 for both together",
        "prototype update": "at least 20 on a CPU",
        "prototype contrast, forward + backward": "",
        "prototype contrast, forward + backward, against one product": "at most 1.1",
        "class centres": "at least 20 on a CPU",
        "labels of nearest centres": "",
        "centre contrasts, forward + backward": "",
        "centre contrasts, forward + backward, against one product": "at most 1.1",
        "sample, uncached": "at least 1.6",
        "sample, cached": "at least 300",
        "confusion matrix, scene": "at least 8 on one thread",
        "confusion matrix, noise": "at least 8 on one thread",
        "evaluation, scene": "at least 2.5 on one CPU thread, 8 on a GPU",
        "evaluation, noise": "at least 2.5 on one CPU thread, 8 on a GPU",
        "upsample + argmax": "at least 1.8 on the CPU",
        "logging": "under 0.02",
        "start-up: all": "",
        "start-up: imports": "",
        "start-up: building": "",
        "start-up: first step": "",
    }
    meanings = [row["meaning"] for row in written["rows"] if "centre" in row["name"]]
    assert meanings == ["plain / ours"] * 3 + ["ours / plain"]
    assert {"machine", "versions", "setting"} <= written["facts"].keys()
    logging = next(row for row in written["rows"] if row["name"] == "logging")
    assert logging["note"].endswith("no MLflow, kept on disk")
    # Every row has a time and the ratio of its medians.
    for row in written["rows"]:
        assert row["ours"] > 0 and row["repetitions"] == 2
        if row["plain"] is not None:
            assert row["plain"] > 0
            above, below = row["plain"], row["ours"]
            if row["meaning"] == "ours / plain":
                above, below = below, above
            assert row["ratio"]["medians"] == pytest.approx(above / below)
            assert row["ratio"]["low"] <= row["ratio"]["high"]
    assert all(f"\n{row['name']} " in text for row in written["rows"])
    assert "QUICK: the times mean nothing" in text
    assert "SHORTENED trunk" in text


def test_only_what_is_named_is_run(monkeypatch, capsys):
    for name in COMPARISONS:
        row = duration(f"row of {name}", [1.0], "")
        monkeypatch.setitem(COMPARISONS, name, lambda setting, row=row: [row])
    main(["startup", "confusion", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert printed.index("row of startup") < printed.index("row of confusion")
    assert "row of step" not in printed


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        (["stepp"], "unknown: stepp; choose from step, methods, "),
        (["--threads", "0"], "--threads must be 1 or more, got 0"),
    ],
)
def test_mistakes_are_named(command_line, message, capsys):
    with pytest.raises(SystemExit):
        arguments(command_line)
    assert message in capsys.readouterr().err


def test_a_disagreement_ends_the_run_and_names_the_comparison(monkeypatch):
    def disagree(setting: Setting) -> list[Measurement]:
        agree("labels", torch.zeros(2), torch.ones(2))
        return []

    monkeypatch.setitem(COMPARISONS, "step", disagree)
    with pytest.raises(SystemExit, match="step: labels: the two ways differ by 1"):
        main(["step", "--device", "cpu"])


# Timing


def test_ours_and_plain_take_turns_and_each_begins_every_other_pair():
    calls = []
    times = side_by_side(
        lambda: calls.append("o"), lambda: calls.append("p"), repetitions=4, device=CPU
    )
    assert "".join(calls) == "op" + "po" + "op" + "po" + "op"
    assert [len(seconds) for seconds in times] == [4, 4]


def test_ratios_by_hand():
    times = Times(ours=[1.0, 2.0, 4.0], plain=[2.0, 8.0, 8.0])
    faster = speedup("a", times, "at least 3", "")
    assert (faster.ours, faster.plain, faster.repetitions) == (2.0, 8.0, 3)
    # Pairs: 2, 4, 2; their quartiles lie halfway between neighbours.
    assert faster.ratio == Ratio(4.0, 2.0, 3.0)
    assert overhead("a", times, "", "").ratio == Ratio(0.25, 0.375, 0.5)


def test_a_line_of_the_table():
    row = speedup("a", Times([0.5e-3], [2.0]), "at least 3", "of some size")
    first, second = printing.line(row).splitlines()
    written = "a 500 us 2 s 4e+03 4e+03 to 4e+03 plain / ours at least 3"
    assert " ".join(first.split()) == written
    assert second == "    1 repetitions; of some size"


@pytest.mark.parametrize("value", [1.02, 0.98, math.nan, math.inf])
def test_values_further_apart_than_allowed_disagree(value):
    plain = torch.tensor([0.5, 1.0])
    agree("x", torch.tensor([0.5, 1.005]), plain, tolerance=0.01)
    with pytest.raises(Disagreement, match="x: the two ways differ"):
        agree("x", torch.tensor([0.5, value]), plain, tolerance=0.01)


def test_shapes_disagree_even_where_they_broadcast():
    with pytest.raises(Disagreement, match=r"\[1\] and \[2\]"):
        agree("x", torch.ones(1), torch.ones(2))
