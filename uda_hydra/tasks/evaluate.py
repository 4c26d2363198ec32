"""Evaluate: score the weights of ``init`` on the target's validation images."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.engine.checkpoint import write_atomically
from uda_hydra.engine.evaluator import evaluate as score
from uda_hydra.errors import UserError
from uda_hydra.provenance import provenance


def evaluate(config: DictConfig, overrides: list[str], label: str) -> float:
    """Print the per-class table; with ``output`` also write ``result.json`` there."""
    if config.init is None:
        raise UserError("task=evaluate needs init=FILE: the weights to score")
    device = build.device(config.trainer.device)
    build.check_init(config)
    pair = build.pair(config)
    network = build.segmenter(config).to(device)
    scores, _ = score(
        network,
        pair.validate(workers=config.trainer.workers),
        classes=pair.classes,
        count=len(pair.validation),
        normalize=network.normalization,
        device=device,
        bfloat16=build.bfloat16(config.trainer.precision, device),
    )
    print(f"{config.init} on {len(pair.validation)} validation images of {pair.name}")
    print(scores.table())
    means = scores.metrics()
    result = {"miou/last": means.pop("miou"), **means, **scores.per_class()}
    if config.output is not None:
        folder = Path(config.output)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result | provenance(overrides) | {"init": config.init}, indent=1)
        write_atomically(folder / "result.json", lambda path: path.write_text(text + "\n"))
        print(f"written to {folder / 'result.json'}")
    return result["miou/last"]
