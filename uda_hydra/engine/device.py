"""What concerns the device as a whole: kernels, determinism, memory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from uda_hydra.errors import UserError
from uda_hydra.settings import TrainerSettings


def configure(settings: TrainerSettings) -> None:
    """Choose this process's kernels by ``trainer.cudnn_benchmark`` and ``.deterministic``."""
    strict = settings.deterministic == "strict"
    if settings.deterministic != "off":
        # Read by cuBLAS when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(settings.deterministic != "off", warn_only=not strict)
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark and not strict


def peak_memory(device: torch.device) -> float:
    """Largest memory so far in GB: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@contextmanager
def out_of_memory_explained() -> Iterator[None]:
    """Tell which keys need less GPU memory when there is not enough."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU has too little memory for this training. Less is needed with, in this order: "
            "trainer.precision=bf16, trainer.accumulate=<parts of trainer.batch_size>, "
            "trainer.activation_checkpointing=true, smaller dataset.source.size and "
            f"dataset.target.size. The last checkpoint is kept. ({str(error).splitlines()[0]})"
        ) from error
