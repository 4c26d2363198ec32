"""Scan: count the pixels of each class in each label of the source, for class-balanced sampling."""

from __future__ import annotations

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.data.counting import Count
from uda_hydra.data.scan import Statistics
from uda_hydra.data.scan import scan as count
from uda_hydra.errors import UserError
from uda_hydra.files import write_text


def scan(config: DictConfig, overrides: list[str]) -> None:
    """Write the file that the samplers read, by default below outputs/scan, and print the shares.

    What was read is recorded next to it, so that an interrupted scan resumes where it stopped.
    Target labels are not looked at: no sampler may know them.
    """
    pair = build.pair(config)
    if pair.oracle:
        raise UserError("task=scan counts the source; set dataset.oracle=false")
    path = pair.scan or pair.scan_file
    path.parent.mkdir(parents=True, exist_ok=True)
    found = count(
        pair.source.images,
        workers=config.trainer.workers,
        journal=path.with_name(f"{pair.name}.jsonl".replace("/", "-")),
        progress=Count("scan"),
    )
    if not found.pixels.any():
        raise UserError(
            f"no label of {found.name} shows a class of dataset.classes={config.dataset.classes}; "
            "task=check_data tells which values the labels hold"
        )
    write_text(path, found.to_json())
    print(f"{_text(found)}\nwritten to {path}")


def _text(found: Statistics) -> str:
    width = max(len(name) for name in found.classes)
    lines = [f"{found.name}: {len(found.files)} labels", f"{'class':{width}}{'pixels':>11}  files"]
    files = found.holding().sum(axis=0)
    for name, share, number in zip(found.classes, found.frequency, files, strict=True):
        lines.append(f"{name:{width}}{100 * share:9.3f} %{number:7d}")
    return "\n".join(lines)
