"""Evaluate: score the weights of ``init`` on the target's validation images."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.data.pair import Pair
from uda_hydra.engine.checkpoint import write_atomically
from uda_hydra.engine.evaluator import evaluate as score
from uda_hydra.engine.scores import Scores
from uda_hydra.errors import UserError
from uda_hydra.methods.base import Untrained
from uda_hydra.provenance import provenance
from uda_hydra.published import Row, published
from uda_hydra.stages import settings


def evaluate(config: DictConfig, overrides: list[str], label: str) -> float:
    """Print the per-class table, what ``method`` has published beside it.

    With ``output`` also write ``result.json`` there.
    """
    if config.init is None:
        raise UserError("task=evaluate needs init=FILE: the weights to score")
    build.check_init(config)
    pair = build.pair(config)
    scores = _scored(config, pair)
    rows = published(_method(config), pair.name)
    print(f"{config.init} on {len(pair.validation)} validation images of {pair.name}")
    print(*_report(scores, rows), sep="\n")
    means = scores.metrics()
    result = {"miou/last": means.pop("miou"), **means, **scores.per_class()}
    if config.output is not None:
        facts = provenance(overrides) | {"init": config.init}
        _write(Path(config.output), result | facts | {"published": [asdict(row) for row in rows]})
    return result["miou/last"]


def _scored(config: DictConfig, pair: Pair) -> Scores:
    device = build.device(config.trainer.device)
    network = build.segmenter(config)
    try:
        scores, _ = score(
            Untrained(network).to(device),
            pair.validate(workers=config.trainer.workers),
            protocol=settings(config.evaluation),
            classes=pair.classes,
            count=len(pair.validation),
            normalize=network.normalization,
            device=device,
            bfloat16=build.bfloat16(config.trainer.precision, device),
            panels=0,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return scores


def _method(config: DictConfig) -> str:
    """Whose published rows are looked for: the module of the method."""
    return "oracle" if config.dataset.oracle else config.method._target_.split(".")[-2]


def _report(scores: Scores, rows: list[Row]) -> list[str]:
    """The table, a numbered column for each published row, and what the numbers stand for."""
    names = [f"[{number}]" for number in range(1, len(rows) + 1)]
    columns = [row.column(scores.names) for row in rows]
    lines = [scores.table(dict(zip(names, columns, strict=True)))]
    return lines + [f"{n} {row.note()}" for n, row in zip(names, rows, strict=True)]


def _write(folder: Path, result: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    write_atomically(folder / "result.json", lambda path: path.write_text(text + "\n"))
    print(f"written to {folder / 'result.json'}")
