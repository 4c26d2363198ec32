"""The commands that are attacked, each as small as it can be."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conftest import SMALL

Command = tuple[str, ...]
SAVE_EVERY = 2
UNTRACKED = ("tracking=none", "callbacks=none")
TINY = (
    *(line for line in SMALL if line not in (*UNTRACKED, "dataset.cache=false")),
    "trainer.steps=8",
    "trainer.evaluate_every=4",
    f"trainer.save_every={SAVE_EVERY}",
    "trainer.log_every=1",
)
SHARED = ("dataset.root=../shared/data/streets", "dataset.cache_folder=../shared/data/cache")
"""Scenes and decoded images lie beside the folder of the attack."""
SWEPT = ("-m", *TINY, *SHARED, "method=source_only", "loss.lambda_seg_aux=0.1,0.2,0.3,0.4")
TRAINING = (*TINY, *SHARED, "method=source_only", "output=run")
WARMUP = "init=${stage:warmup}/last.pt"


@dataclass(frozen=True)
class Target:
    """A command, and what it needs."""

    command: Command
    before: Command | None = None
    """The command that makes what this one reads; nobody attacks it."""
    together: int = 1
    """How many processes are started at once."""


TARGETS = {
    "training": Target(TRAINING),
    "stages": Target(
        (
            *(*TINY, *SHARED, *UNTRACKED, "trainer.steps=4", "output=run"),
            "method=toy_distil",
            "+stages.warmup=['method=source_only']",
            f"+stages.denoise=['method=source_only','{WARMUP}']",
            f"+stages.distil=['method=toy_distil','{WARMUP}']",
        )
    ),
    "sweep": Target((*SWEPT, "trainer.steps=4"), together=2),
    "passes": Target(
        (
            *(*TINY, *SHARED, *UNTRACKED, "output=run", "method=cbst/round"),
            "augmentation.crop=[48,32]",
        )
    ),
    # Prototypes, thresholds and labels are made by passes and handed from stage to stage.
    "handed on": Target(
        (
            *(*TINY, *SHARED, *UNTRACKED, "trainer.steps=4", "output=run", "method=proca"),
            "method.threshold=0.0",
        )
    ),
    # Centres are measured by two passes in a stage of their own.
    "measured": Target(
        (
            *(*TINY, *SHARED, *UNTRACKED, "trainer.steps=4", "output=run", "method=cfcontra"),
            "method.margin=0.0",
        )
    ),
    "restyled": Target(("task=stylize", *TINY, *SHARED, "augmentation=restyle", "output=styled")),
    # Soft and hard labels, prototypes, teachers: each stage reads what those before it made.
    "self-training": Target(
        (
            *(*TINY, *SHARED, *UNTRACKED, "trainer.steps=4", "output=run", "method=proda"),
            *("model=proda_tiny", "model.branch_channels=32", "model.head_channels=32"),
            "method.threshold=0.0",
        )
    ),
    "cache": Target(
        (
            *(*TINY, SHARED[0], *UNTRACKED, "method=source_only", "output=run", "trainer.steps=2"),
            # So many files that several processes share the work.
            *("trainer.workers=2", "dataset.counts={source: 70, target: 70, validation: 3}"),
        )
    ),
    "report": Target(
        (*SWEPT, *UNTRACKED, "task=report", "trainer.steps=2"),
        before=(*SWEPT, *UNTRACKED, "trainer.steps=2"),
    ),
    "predict": Target(
        (
            *("task=predict", *TINY, *SHARED, "init=run/source_only/last.pt", "output=drawn"),
            "input=../shared/data/streets",
        ),
        before=(*TRAINING, *UNTRACKED),
    ),
    # On scenes of its own, which are drawn first.
    "scan": Target(("task=scan", *TINY, "trainer.workers=2")),
}
