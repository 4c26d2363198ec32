"""A program like launch.py whose trainings take no time: their values say what becomes of them."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hydra
from omegaconf import DictConfig

from uda_hydra.errors import UserError, reported
from uda_hydra.schema import register
from uda_hydra.terminal import outlast_terminal

FAILING, EMPTY = 13.0, 14.0
"""Values of loss.lambda_seg_aux whose training fails, or ends without a number."""


@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(config: DictConfig) -> float | list[float]:
    """Say that it runs, take ``NAP`` seconds, and leave a result."""
    value, folder = config.loss.lambda_seg_aux, Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "began.txt").open("a") as file:
        file.write(f"{value} {config.seed}\n")
    time.sleep(float(os.environ.get("NAP", "0")))
    if value == FAILING:
        raise UserError("bad luck\nin two lines")
    score = math.nan if value == EMPTY else 1 - (value - 0.4) ** 2 + 0.01 * config.seed
    (folder / "result.json").write_text(json.dumps({"miou/last": score, "dataset": "streets"}))
    return score if config.objective == "miou/last" else [score, value]


if __name__ == "__main__":
    outlast_terminal()
    register()
    # Nobody looks at the figures, whose module takes seconds to import.
    sys.modules["uda_hydra.studies.report.figures"] = SimpleNamespace(draw_all=lambda _: ([], []))
    with reported():
        main()
