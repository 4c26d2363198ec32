"""Evaluate: score weights, of one network or of several, on the target's validation images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.data.pair import Pair
from uda_hydra.engine.device import find_device, uses_bfloat16
from uda_hydra.engine.evaluator import evaluate as score
from uda_hydra.engine.scores import Scores
from uda_hydra.errors import UserError
from uda_hydra.files import write_json
from uda_hydra.methods.base import Untrained
from uda_hydra.provenance import provenance
from uda_hydra.published import Row, published


def evaluate(config: DictConfig, overrides: list[str]) -> float:
    """Print the per-class table, published rows beside it.

    With ``output`` also write ``result.json`` there.
    """
    if config.init is None and not config.ensemble:
        raise UserError(
            "task=evaluate needs init=FILE: the weights to score; or ensemble=[{init: FILE}, ...]"
        )
    if not config.ensemble:
        build.check_init(config)
    pair = build.pair(config)
    scores = _scored(config, pair)
    rows = published(build.published_as(config), pair.name)
    print(f"{_named(config)} on {len(pair.validation)} validation images of {pair.name}")
    print(*_report(scores, rows), sep="\n")
    means = scores.metrics()
    result = {"miou/last": means.pop("miou"), **means, **scores.per_class()}
    if config.output is not None:
        facts = provenance(overrides) | _weights(config)
        _write(Path(config.output), result | facts | {"published": [asdict(row) for row in rows]})
    return result["miou/last"]


def _scored(config: DictConfig, pair: Pair) -> Scores:
    device = find_device(config.trainer.device)
    one = not config.ensemble
    method = Untrained(build.segmenter(config)) if one else build.ensemble(config)
    try:
        scores, _ = score(
            method.to(device),
            pair.validate(workers=config.trainer.workers),
            protocol=settings(config.evaluation),
            classes=pair.label_space.names,
            count=len(pair.validation),
            normalize=method.segmenter.normalization,
            device=device,
            bfloat16=uses_bfloat16(config.trainer.precision, device),
            panels=0,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return scores


def _weights(config: DictConfig) -> dict[str, object]:
    """The key that says which weights are scored, and its value."""
    if config.ensemble:
        return {"ensemble": [asdict(settings(member)) for member in config.ensemble]}
    return {"init": config.init}


def _named(config: DictConfig) -> str:
    """The weights that are scored, in words."""
    members = [f"{member.weight:g} x {member.init}" for member in config.ensemble]
    return " + ".join(members) or config.init


def _report(scores: Scores, rows: list[Row]) -> list[str]:
    """The table, a numbered column for each published row, and what the numbers stand for."""
    names = [f"[{number}]" for number in range(1, len(rows) + 1)]
    columns = [row.column(scores.names) for row in rows]
    lines = [scores.table(dict(zip(names, columns, strict=True)))]
    return lines + [f"{n} {row.note()}" for n, row in zip(names, rows, strict=True)]


def _write(folder: Path, result: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", result)
    print(f"written to {folder / 'result.json'}")
