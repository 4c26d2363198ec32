"""Evaluate: score weights, of one network or of several, on the target's validation images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.data.pair import Pair
from uda_hydra.engine.device import configure, find_device, uses_bfloat16
from uda_hydra.engine.evaluator import evaluate as score
from uda_hydra.engine.scores import MEAN, Scores
from uda_hydra.files import move_aside, read_json, write_json
from uda_hydra.provenance import provenance
from uda_hydra.published import Row, published, published_as
from uda_hydra.runs.layout import check_folder, mark_folder

FILE = "evaluation.json"
"""The result's name; result.json in the same folder is that of a training."""


def evaluate(config: DictConfig, overrides: list[str]) -> float:
    """Print the per-class table next to published rows, and return the mean IoU.

    With ``output`` also write ``evaluation.json`` there; one of another evaluation is kept.
    """
    if config.output is not None:
        check_folder(Path(config.output), "evaluation")
    build.check_predictor(config)
    pair = build.pair(config)
    rows = published(published_as(config), pair.name, pair.label_space.name)
    scores = _score(config, pair)
    print(f"{_describe(config)} on {len(pair.validation)} validation images of {pair.name}")
    print(*_report(scores, rows), sep="\n")
    result = scores.result()
    if config.output is not None:
        facts = provenance(overrides) | {"dataset": pair.name} | _weights(config)
        facts |= {"published": [asdict(row) for row in rows]}
        _write(Path(config.output), result | facts)
    return result[MEAN]


def _write(folder: Path, result: dict[str, Any]) -> None:
    mark_folder(folder, "evaluation")
    path = folder / FILE
    former = read_json(path)
    # The same command also differs in the versions of what it ran with.
    if former is not None and former.get("command") != result["command"]:
        print(f"the evaluation that was there is now {move_aside(path)}")
    write_json(path, result)
    print(f"written to {path}")


def _score(config: DictConfig, pair: Pair) -> Scores:
    device = find_device(config.trainer.device)
    configure(settings(config.trainer))
    scores, _ = score(
        build.predictor(config).to(device),
        pair.validate(workers=config.trainer.workers),
        protocol=settings(config.evaluation),
        label_space=pair.label_space,
        count=len(pair.validation),
        device=device,
        bfloat16=uses_bfloat16(config.trainer.precision, device),
        panels=0,
    )
    return scores


def _weights(config: DictConfig) -> dict[str, object]:
    """The key of the weights that are scored, and its value."""
    if config.ensemble:
        return {"ensemble": [asdict(settings(member)) for member in config.ensemble]}
    return {"init": config.init}


def _describe(config: DictConfig) -> str:
    """The weights that are scored, in words."""
    members = [f"{member.weight:g} x {member.init}" for member in config.ensemble]
    return " + ".join(members) or config.init


def _report(scores: Scores, rows: list[Row]) -> list[str]:
    """The table, a numbered column for each published row, and what the numbers stand for."""
    names = [f"[{number}]" for number in range(1, len(rows) + 1)]
    columns = {name: row.column() for name, row in zip(names, rows, strict=True)}
    return [scores.table(columns), *(f"{n} {r.note()}" for n, r in zip(names, rows, strict=True))]
