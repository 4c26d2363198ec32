"""The weights of a method's loss terms."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class Weights(dict[str, float]):
    """By the names of the terms; a weight of 0 removes its term, because 0 * inf would be nan."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """From the config's keys, ``lambda_<term>``."""
        super().__init__({name.removeprefix("lambda_"): w for name, w in weights.items()})

    def weighted(self, terms: Mapping[str, Tensor]) -> list[Tensor]:
        """The terms times their weights, without those removed."""
        weights = ((self[name], term) for name, term in terms.items())
        return [weight * term for weight, term in weights if weight != 0]

    def without_removed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values of a step, ``loss/<term>`` among them, without the terms removed."""
        removed = {f"loss/{name}" for name, weight in self.items() if weight == 0}
        return {name: value for name, value in values.items() if name not in removed}
