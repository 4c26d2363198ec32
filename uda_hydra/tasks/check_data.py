"""Check the data: read every file once, report what is there and what does not fit."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.data.check import check
from uda_hydra.data.counting import Count
from uda_hydra.errors import UserError


def check_data(config: DictConfig, overrides: list[str]) -> None:
    """Report on the images of each part of the pair; an error if any file is unfit.

    What was found sound is remembered in ``outputs/check_data``, so that an interrupted check
    resumes where it stopped.
    """
    pair = build.pair(config)
    sets = {
        "source": pair.source.images,
        "target": pair.target.images,
        "validation": pair.validation.truth,
    }
    if pair.source_validation is not None:
        sets["source_validation"] = pair.source_validation.truth
    unfit = []
    for part, images in sets.items():
        report = check(
            images,
            workers=config.trainer.workers,
            journal=Path("outputs/check_data") / f"{pair.name}-{part}.jsonl",
            progress=Count(part),
        )
        print(f"{part}: {report.text()}")
        if not report.ok:
            unfit.append(part)
    if unfit:
        raise UserError(f"files of {', '.join(unfit)} are not fit for training, see above")
