"""All that an evaluation during a training scores."""

from __future__ import annotations

from typing import NamedTuple

import torch

from uda_hydra.data.pair import Pair, Validation
from uda_hydra.engine.evaluator import Diagnose, evaluate, observing
from uda_hydra.engine.events import Panel
from uda_hydra.engine.label_free import LabelFree, single_look
from uda_hydra.engine.scores import Scores
from uda_hydra.methods.base import Method
from uda_hydra.settings import EvaluationSettings
from uda_hydra.types import Predictor


class Scored(NamedTuple):
    """The scores of the first network that ``Method.scored`` names, and what belongs to them."""

    scores: Scores
    panels: tuple[Panel, ...]
    label_free: dict[str, float]
    """Scores that no target label enters."""
    further: dict[str, float]
    """The mean IoU of the other networks."""


def score(
    method: Method,
    pair: Pair,
    protocol: EvaluationSettings,
    *,
    workers: int,
    device: torch.device,
    bfloat16: bool,
) -> Scored:
    """Score the target's validation images, and held-out images of the source where there are."""
    shared = {"label_space": pair.label_space, "device": device, "bfloat16": bfloat16}

    def run(
        predictor: Predictor,
        images: Validation,
        protocol: EvaluationSettings,
        **options: int | LabelFree | Diagnose,
    ) -> tuple[Scores, tuple[Panel, ...]]:
        stream, count = images.stream(workers=workers), len(images)
        return evaluate(predictor, stream, protocol=protocol, count=count, **shared, **options)

    networks = method.scored(protocol.network)
    (_, first), *others = networks.items()
    seen = LabelFree(device)
    # The method too, of which a teacher that is scored is only a part.
    with observing(method, device):
        scores, panels = run(
            first, pair.validation, protocol, label_free=seen, diagnose=method.diagnose
        )
    label_free = seen.means()
    if pair.source_validation is not None:
        source, _ = run(first, pair.source_validation, single_look(protocol), panels=0)
        label_free["miou/source_val"] = source.miou
    further = {
        f"miou/{name}": run(predictor, pair.validation, protocol, panels=0)[0].miou
        for name, predictor in others
    }
    return Scored(scores, panels, label_free, further)
