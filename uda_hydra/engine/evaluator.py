"""Scores of a predictor on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.engine.events import Panel
from uda_hydra.engine.label_free import LabelFree
from uda_hydra.engine.protocols import Look, label_map, look, probability_map
from uda_hydra.engine.scores import Scores
from uda_hydra.errors import UserError
from uda_hydra.settings import EvaluationSettings
from uda_hydra.types import Predictor

Diagnose = Callable[[Tensor], Mapping[str, Tensor]]
"""``Method.diagnose``."""
EXACT = 2**24
"""OpenCV counts in float32: exact for so many pixels a call."""


def evaluate(
    predictor: Predictor,
    images: Iterable[tuple[str, Tensor, Tensor, Sequence[Tensor]]],
    *,
    protocol: EvaluationSettings,
    label_space: LabelSpace,
    count: int,
    device: torch.device,
    bfloat16: bool,
    panels: int = 4,
    label_free: LabelFree | None = None,
    diagnose: Diagnose | None = None,
) -> tuple[Scores, tuple[Panel, ...]]:
    """Score ``images``: key, uint8 RGB (3, h, w), uint8 class numbers, the image at further sizes.

    The images are of the ``input_sizes`` of ``protocol``, and scored at the size of their labels.
    ``count`` is their number; ``panels`` of them, the same every time, come back as pictures.
    ``label_free`` is given the predictor's looks at each image, and never its label. ``diagnose``
    makes further label maps of the pictures. The predictor is left in the modes it was in, and the
    random state as it was. Raises UserError where the predictor has other classes, or where no
    label shows any.
    """
    drawn = {(2 * i + 1) * count // (2 * panels) for i in range(panels)}
    pictures = []
    size = len(label_space)
    confusion = torch.zeros((size, size), dtype=torch.int64, device=device)

    with observing(predictor, device):
        for index, (key, image, label, others) in enumerate(images):
            label = label.to(device, non_blocking=True)
            looks = look(predictor, [image, *others], protocol, device=device, bfloat16=bfloat16)
            check_classes(looks, label_space)
            if label_free is not None:
                label_free.add(index, looks[0])
            prediction = label_map(looks, tuple(label.shape), protocol)
            confusion += count_pixels(label, prediction, size)
            if index in drawn:
                panel = _panel(key, image, label, looks, protocol)
                if diagnose is not None:
                    seen = predictor.normalization(image[None].to(device))
                    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                        panel = panel._replace(labels=_at_size(diagnose(seen), panel.truth.shape))
                pictures.append(panel)
    counts = confusion.cpu().numpy()
    if not counts.any():
        raise UserError(
            f"none of the {count} labels that are scored shows a class of {label_space.name}; "
            "check dataset.classes and the validation labels, task=check_data lists what they hold"
        )
    return Scores(counts, label_space, average=protocol.average), tuple(pictures)


def check_classes(looks: list[Look], label_space: LabelSpace) -> None:
    """Raise UserError unless the looks are at logits of the label space's classes."""
    found = looks[0].logits.shape[1]
    if found != len(label_space):
        raise UserError(
            f"the model predicts {found} classes and {label_space.name} has {len(label_space)}; "
            "choose the dataset.classes that the model was trained with"
        )


def count_pixels(
    label: UInt8[Tensor, "*shape"], prediction: UInt8[Tensor, "*shape"], num_classes: int
) -> Int64[Tensor, "k k"]:
    """Pixels per truth (row) and prediction (column); truth outside the classes is left out.

    That every prediction is a class is not checked.
    """
    if label.device.type == "cpu":
        return _count_on_cpu(label.reshape(1, -1), prediction.reshape(1, -1), num_classes)
    # Every pixel is counted, those left out in one cell more: a mask would need its size first.
    cells = num_classes**2
    index = (label.long() * num_classes + prediction).where(label < num_classes, cells)
    return index.flatten().bincount(minlength=cells + 1)[:cells].view(num_classes, num_classes)


def _count_on_cpu(
    label: UInt8[Tensor, "1 n"], prediction: UInt8[Tensor, "1 n"], num_classes: int
) -> Int64[Tensor, "k k"]:
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    maps = zip(label.split(EXACT, dim=1), prediction.split(EXACT, dim=1), strict=True)
    for pair in maps:
        counted = cv2.calcHist(
            [part.numpy() for part in pair],
            channels=[0, 1],
            mask=None,
            histSize=[num_classes] * 2,
            ranges=[0, num_classes] * 2,
        )
        total += counted.astype(np.int64)
    return torch.from_numpy(total)


@contextmanager
def observing(predictor: Predictor, device: torch.device, *, train: bool = False) -> Iterator[None]:
    """Without gradients, in one mode; modes, buffers and random state come back afterwards."""
    modes = {module: module.training for module in predictor.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in predictor.buffers()] if train else []
    # A data loader draws its workers' seed from the global generator.
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), torch.inference_mode():
        predictor.train(train)
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for buffer, before in buffers:
                buffer.copy_(before)


def _panel(
    key: str,
    image: UInt8[Tensor, "3 h w"],
    label: UInt8[Tensor, "h2 w2"],
    looks: list[Look],
    protocol: EvaluationSettings,
) -> Panel:
    height, width = image.shape[1:]
    probability = probability_map(looks, (height, width), protocol)[0]
    confidence, prediction = probability.max(dim=0)
    truth = cv2.resize(label.cpu().numpy(), (width, height), interpolation=cv2.INTER_NEAREST)
    return Panel(
        key=key,
        image=image.permute(1, 2, 0).contiguous().cpu().numpy(),
        truth=truth,
        prediction=prediction.to(torch.uint8).cpu().numpy(),
        confidence=confidence.cpu().numpy(),
    )


def _at_size(maps: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The first map of each batch at (height, width)."""
    small = {name: map[0].to(torch.uint8).cpu().numpy() for name, map in maps.items()}
    return {
        name: cv2.resize(map, size[::-1], interpolation=cv2.INTER_NEAREST)
        for name, map in small.items()
    }
