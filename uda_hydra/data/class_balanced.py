"""Which source images a training sees, so that rare classes come often enough."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from jaxtyping import Bool, Float64

BLOCK = 3000
"""Draws after which ProCA forgets what it has shown."""


def class_balanced_draws(
    holds: Bool[np.ndarray, "files k"], *, random: np.random.RandomState, skip_first: bool
) -> Iterator[int]:
    """File numbers in the order in which ProCA draws them, without end.

    A class is drawn with weight 1 / ln(1.01 + its share of all that the block has shown), then the
    next file that ``holds`` it. ``skip_first``: a class whose files are used up is shuffled and
    continues with the second one, as the release does; else with the first. From FADA (Wang et
    al., ECCV 2020); ``random`` is numpy's legacy generator, for the release's order.
    """
    lists = [column.nonzero()[0].tolist() for column in holds.T]
    present = np.array([bool(files) for files in lists])
    if not present.any():
        raise ValueError("no file shows any class; run task=scan again, or look at the labels")
    position = [0] * len(lists)
    for number in count():
        if number % BLOCK == 0:
            shown = np.zeros(len(lists))
        drawn = int(random.choice(len(lists), p=_weights(shown, present)))
        files = lists[drawn]
        if position[drawn] == len(files):
            random.shuffle(files)
            position[drawn] = 1 if skip_first and len(files) > 2 else 0
        file = files[position[drawn]]
        position[drawn] += 1
        shown += holds[file]
        yield file


def _weights(
    shown: Float64[np.ndarray, " k"], present: Bool[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    share = shown / max(shown.sum(), 1)
    # 1 + 0.01 and not 1.01: the last bit decides some draws of the release.
    weight = np.where(present, 1 / np.log(1 + 0.01 + share), 0.0)
    return weight / weight.sum()


def rare_class_probability(
    frequency: Float64[np.ndarray, " k"],
    *,
    temperature: float,
    allowed: Bool[np.ndarray, " k"] | None = None,
) -> Float64[np.ndarray, " k"]:
    """Chance of each class to be drawn; rare ones are drawn more often the lower ``temperature``.

    Rare class sampling of DAFormer (Hoyer et al., CVPR 2022), Eq. 8, over the classes that occur
    and, where given, are ``allowed``; all others get 0.
    """
    if temperature <= 0:
        raise ValueError(f"sampler.temperature must be positive, got {temperature}")
    drawn = frequency > 0 if allowed is None else allowed & (frequency > 0)
    exponent = (1 - frequency[drawn]) / temperature
    weight = np.exp(exponent - exponent.max())
    probability = np.zeros_like(frequency)
    probability[drawn] = weight / weight.sum()
    return probability
