"""Convert: weights into our layout, or into an official one so that official code can use them."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.errors import UserError
from uda_hydra.files import write_atomically
from uda_hydra.models.checkpoints.export import (
    find_layout,
    official,
    ours,
    write_official,
    write_ours,
)
from uda_hydra.models.checkpoints.layouts import OURS
from uda_hydra.models.checkpoints.names import abbreviate
from uda_hydra.models.checkpoints.reading import read_checkpoint
from uda_hydra.runs.layout import check_folder


def convert(config: DictConfig, overrides: list[str]) -> None:
    """Write the weights of ``init`` to the file ``output``; neither model nor data are needed.

    Without ``layout`` it becomes ours, a safetensors file; with it, a file as the release has it.
    """
    target = _output(config)
    build.check_init(config)
    try:
        layout = None if config.layout is None else find_layout(config.layout)
        checkpoint = read_checkpoint(build.weights_file(config), take=(layout or OURS).take)
        tensors = ours(checkpoint) if layout is None else official(checkpoint, layout)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(f"{config.init}: {checkpoint.layout.name} ({checkpoint.layout.title})")
    size = sum(tensor.nbytes for tensor in tensors.values())
    target.parent.mkdir(parents=True, exist_ok=True)
    if layout is None:
        write_atomically(target, lambda path: write_ours(path, tensors), size=size)
    else:
        write_atomically(target, lambda path: write_official(path, tensors, layout), size=size)
        left = [name for name in checkpoint.unused if name not in tensors]
        print(
            f"  has no place there: {abbreviate(left)}" if left else "  all of it has a place there"
        )
    written = "uda_hydra, safetensors" if layout is None else f"{layout.name}, {layout.container}"
    print(f"{target}: {written}, {len(tensors)} tensors")


def _output(config: DictConfig) -> Path:
    """The file to write, once everything that was left out or contradicts is ruled out."""
    if config.init is None:
        raise UserError("task=convert needs init=FILE: the weights to convert")
    if config.output is None:
        raise UserError("task=convert needs output=FILE: where to write them")
    target = Path(config.output)
    if (target.suffix == ".safetensors") != (config.layout is None):
        raise UserError(
            f"output={target} does not go with layout={config.layout}: our layout (layout=null) is "
            "written to a .safetensors file, an official one to a .pth, a .pkl or (centres) a .npy"
        )
    if target.is_dir():
        raise UserError(f"output={target} is a folder; give the file to write")
    check_folder(target.parent, "conversion")
    return target
