"""What concerns the device as a whole: kernels, determinism, memory."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from uda_hydra.errors import UserError
from uda_hydra.settings import TrainerSettings

CLEAR = Path("/proc/self/clear_refs")
"""Where Linux sets the peak of a process's memory back, on "5"."""
DRAWS = (
    *(Tensor.normal_, Tensor.uniform_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_),
)
"""Fill a tensor with random numbers, in place."""


def find_device(name: str) -> torch.device:
    """``trainer.device`` resolved; UserError if this machine has no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise UserError(
            f"trainer.device={name} is not a valid device; use auto, cpu, cuda or cuda:<n>"
        )
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UserError(
            f"trainer.device={name} is not available: this machine has {count} CUDA devices; "
            "use auto"
        )
    return found


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether ``trainer.precision`` means bf16 autocast on this device."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


class _NoDraws(TorchFunctionMode):
    """Leaves out the drawing of first weights, for which the meta device needs a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def without_memory() -> Iterator[None]:
    """Modules that are built inside have shapes and no values: it takes neither time nor memory."""
    with torch.device("meta"), _NoDraws():
        yield


MODES = {"off": 0, "warn": 1, "strict": 2}
"""torch's numbers for the values of ``trainer.deterministic``."""


THREADS = torch.get_num_threads()
"""Of the CPU, where ``trainer.threads`` is null."""


def configure(settings: TrainerSettings) -> None:
    """Choose this process's threads and kernels as ``trainer`` says."""
    torch.set_num_threads(settings.threads or THREADS)
    strict = settings.deterministic == "strict"
    if settings.deterministic != "off":
        # Read by cuBLAS when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The call imports torch's compiler, which takes seconds.
    if torch.get_deterministic_debug_mode() != MODES[settings.deterministic]:
        torch.use_deterministic_algorithms(settings.deterministic != "off", warn_only=not strict)
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark and not strict


def peak_memory(device: torch.device) -> float:
    """Largest memory in GB since the last reset: of the GPU if on one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def reset_peak_memory(device: torch.device) -> None:
    """Let ``peak_memory`` count from what is in use now.

    On a CPU only where Linux allows it; elsewhere the peak is that of the process since its start.
    """
    # What an earlier training holds in reference cycles is not this one's.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(CLEAR, os.W_OK):
        CLEAR.write_text("5")


def free_memory() -> None:
    """Give back what a finished training held, so that the next one finds it and measures itself.

    Networks are held by reference cycles, and their blocks by CUDA's cache.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


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
