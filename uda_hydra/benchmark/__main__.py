"""The command line of the benchmark: chooses comparisons, prints and stores their results."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import cv2
import torch

from uda_hydra import benchmark
from uda_hydra.benchmark import printing
from uda_hydra.benchmark.timing import Disagreement, Measurement, Setting

NAMES = (
    "step",
    "methods",
    "denoising",
    "mic",
    "depthwise",
    "dictionary",
    "prototypes",
    "class_centres",
    "pseudo_labels",
    "sample",
    "confusion",
    "upsampling",
    "evaluation",
    "log_cost",
    "startup",
    "sweep",
)
"""The modules of the comparisons, in the order they run in."""
COMPARISONS: dict[str, Callable[[Setting], list[Measurement]]] = {
    name: import_module(f"{benchmark.__name__}.{name}").compare for name in NAMES
}
BY_NAME = ("sweep",)
"""Run only when named: it needs Hydra and Optuna, and minutes."""


def arguments(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the options."""
    parser = argparse.ArgumentParser("python -m uda_hydra.benchmark", description=benchmark.__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"from {', '.join(COMPARISONS)}; without: all but sweep"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; 1 by default")
    parser.add_argument(
        "--quick", action="store_true", help="check that it works; the times mean nothing"
    )
    parser.add_argument("--full", action="store_true", help="steps: ResNet-101 on the CPU too")
    options = parser.parse_args(command_line)
    unknown = sorted(set(options.names) - set(COMPARISONS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(COMPARISONS)}")
    if options.threads < 1:
        parser.error(f"--threads must be 1 or more, got {options.threads}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device} is not available; use --device cpu")
    return options


def main(command_line: Sequence[str] | None = None) -> None:
    """Run the comparisons; print and store each one as soon as it is done."""
    options = arguments(command_line)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="uda_hydra_benchmark_") as folder:
        setting = Setting(
            torch.device(options.device), options.threads, Path(folder), options.quick, options.full
        )
        facts = printing.facts(setting)
        print(printing.heading(facts), flush=True)
        for name in options.names or [one for one in COMPARISONS if one not in BY_NAME]:
            torch.manual_seed(0)
            try:
                new = COMPARISONS[name](setting)
            except Disagreement as error:
                sys.exit(f"error: {name}: {error}")
            print(*map(printing.line, new), sep="\n", flush=True)
            rows += new
            if options.json:
                options.json.write_text(json.dumps(printing.as_json(facts, rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
